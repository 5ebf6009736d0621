"""Check before the training starts that a run can resume from its checkpoint."""

from collections.abc import Mapping
from typing import Any

from torch import nn

from vestim_pl.deploy.checkpoint import load_checkpoint
from vestim_pl.errors import ConfigurationError, printable

__all__ = ["refuse_unfit_checkpoint"]


def refuse_unfit_checkpoint(ckpt_path: str | None, module: nn.Module) -> None:
    """Refuse a damaged file, a file that is not a checkpoint, and one with other weights or another schedule.

    Torch's schedulers take their settings and their count from the checkpoint: with other settings the learning rate
    would match neither this run's settings nor the run so far.

    Args:
        ckpt_path: The checkpoint to resume from, if any.
        module: What the settings of this run build.

    Raises:
        ConfigurationError: With what is wrong with the file, the first weight that differs, or both schedules.

    Example::

        >>> refuse_unfit_checkpoint(None, nn.Linear(2, 1))

    """
    if ckpt_path in (None, "last", "auto"):
        return
    checkpoint = load_checkpoint(str(ckpt_path), to_resume=True)
    found = checkpoint["state_dict"]
    wanted = module.state_dict()
    for name in sorted(found.keys() | wanted.keys()):
        there, here = (list(weights[name].shape) if name in weights else "none" for weights in (found, wanted))
        if there != here:
            raise ConfigurationError(
                f"ckpt_path: {ckpt_path} was trained with other settings: {printable(name)} is {there} there and {here}"
                " here; repeat the settings of that run, see hparams.yaml in its folder"
            )
    earlier, wanted_schedule = (
        settings.get("scheduler")
        for settings in (checkpoint.get("hyper_parameters", {}), getattr(module, "hparams", {}))
    )
    if earlier is not None and earlier != wanted_schedule:
        raise ConfigurationError(
            f"ckpt_path: {ckpt_path} was trained with scheduler {_listed(earlier)}, this run has"
            f" {_listed(wanted_schedule)}; a resumed run keeps its schedule: {_as_overrides(earlier)}"
        )


def _listed(schedule: Mapping[str, Any] | None) -> str:
    return " ".join(f"{key}={value}" for key, value in (schedule or {}).items()) or "none"


def _as_overrides(schedule: Mapping[str, Any]) -> str:
    """Overrides that choose this schedule again.

    Example::

        >>> _as_overrides({"name": "step", "period": 2})
        'scheduler=step scheduler.period=2'

    """
    options = [f"scheduler.{key}={value}" for key, value in schedule.items() if key != "name"]
    return " ".join([f"scheduler={schedule['name']}", *options])
