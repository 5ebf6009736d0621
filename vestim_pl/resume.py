"""Whether training can resume from a checkpoint, checked before it starts."""

from pathlib import Path

from torch import nn

from vestim_pl.deploy.checkpoint_file import check_checkpoint
from vestim_pl.functional.errors import ConfigurationError, printable

__all__ = ["refuse_missing_checkpoint", "refuse_unfit_checkpoint"]


def refuse_missing_checkpoint(ckpt_path: str | None) -> None:
    """Refuse a path that names no file; ``last`` is Lightning's word for the newest one, ``auto`` ours.

    Raises:
        ConfigurationError: With the path.

    """
    if ckpt_path not in (None, "last", "auto") and not Path(str(ckpt_path)).is_file():
        raise ConfigurationError(f"ckpt_path: {ckpt_path} is not a file; give a checkpoint of an earlier run")


def refuse_unfit_checkpoint(ckpt_path: str | None, module: nn.Module) -> None:
    """Refuse a file that is damaged or no checkpoint, or whose weights do not fit the module.

    Args:
        ckpt_path: The checkpoint to resume from, if any.
        module: What the settings of this run build.

    Raises:
        ConfigurationError: With what is wrong with the file, or the first weight that differs.

    Example::

        >>> refuse_unfit_checkpoint(None, nn.Linear(2, 1))

    """
    if ckpt_path in (None, "last", "auto"):
        return
    found = check_checkpoint(str(ckpt_path), to_resume=True)["state_dict"]
    wanted = module.state_dict()
    for name in sorted(found.keys() | wanted.keys()):
        there, here = (list(weights[name].shape) if name in weights else "none" for weights in (found, wanted))
        if there != here:
            raise ConfigurationError(
                f"ckpt_path: {ckpt_path} was trained with other settings: {printable(name)} is {there} there and {here}"
                " here; repeat the settings of that run, see hparams.yaml in its folder"
            )
