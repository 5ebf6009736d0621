"""Resume a training: find the checkpoint that ``ckpt_path`` stands for, and check that this run can resume from it."""

import logging
from collections.abc import Mapping
from math import inf
from pathlib import Path
from typing import Any

import torch
from torch import nn

from vestim_pl.app.changed_settings import refuse_changed_settings
from vestim_pl.deploy.checkpoint import load_checkpoint
from vestim_pl.errors import ConfigurationError, printable

__all__ = ["AUTO", "LAST", "newest_checkpoint", "refuse_unfit_checkpoint", "resolve_checkpoint", "step_of"]

AUTO, LAST = "auto", "last"
_log = logging.getLogger("vestim_pl")


def resolve_checkpoint(ckpt_path: str | None, run_dir: Path) -> str | None:
    """Resolve ``ckpt_path``: a path stays, ``auto`` becomes the newest sound checkpoint in the run's folder.

    ``last`` is ``last.ckpt`` of that folder; where there is none, Lightning looks for it.

    Without a checkpoint the run starts from the beginning, so that a batch job can have the same command line the first
    time and after every requeue.

    Raises:
        ConfigurationError: If there are checkpoints, and none of them is sound.

    """
    if ckpt_path == LAST and (last := run_dir / "checkpoints" / "last.ckpt").is_file():
        return str(last)  # so that it is checked like any other
    if ckpt_path != AUTO:
        return ckpt_path
    found = newest_checkpoint(run_dir / "checkpoints")
    if found is None:
        _log.info("ckpt_path=auto: no checkpoint in %s; starting from the beginning", run_dir / "checkpoints")
        return None
    path, checkpoint = found
    _log.info(
        "ckpt_path=auto: resuming from %s, step %d of epoch %d", path, checkpoint["global_step"], checkpoint["epoch"]
    )
    return str(path)


def newest_checkpoint(folder: Path) -> tuple[Path, dict[str, Any]] | None:
    """Find the sound checkpoint with the most steps, and of two with as many the one written later; with its content.

    ``last_good.ckpt`` ranks below all others: it is written between the callbacks of a batch, so a run that resumes
    from it is sound but not equal to a training that was never stopped.

    Damaged checkpoints, and those with non-finite numbers, are skipped, each with a line in the log.

    Args:
        folder: Folder of the checkpoints.

    Returns:
        None where there is no checkpoint at all.

    Raises:
        ConfigurationError: If there are checkpoints, and none of them is sound.

    """
    faults: list[str] = []
    for path in sorted(folder.glob("*.ckpt"), key=_rank, reverse=True):
        try:
            return path, load_checkpoint(path, to_resume=True)
        except ConfigurationError as error:
            faults.append(str(error).removeprefix("ckpt_path: ").partition("; give ")[0])
            _log.warning("ckpt_path=auto: %s; trying the previous one", faults[-1])
    if faults:
        raise ConfigurationError(
            f"ckpt_path=auto: no checkpoint in {folder} can be resumed ({'; '.join(faults)}); give another folder with"
            " hydra.run.dir=..., or remove these files to start from the beginning"
        )
    return None


def _rank(path: Path) -> tuple[bool, float, float]:
    """Order by step and time; an unreadable checkpoint comes first, so that it is reported."""
    step = step_of(path)
    return path.stem != "last_good", inf if step is None else step, path.stat().st_mtime


def step_of(path: Path) -> int | None:
    """Read the optimizer steps of a checkpoint without its tensors; None for a damaged or another kind of file."""
    try:
        return int(torch.load(path, map_location="cpu", weights_only=True, mmap=True)["global_step"])
    except Exception:  # torch has no class of its own for a damaged file
        return None


def refuse_unfit_checkpoint(
    ckpt_path: str | None, module: nn.Module, settings: Mapping[str, Any] | None = None
) -> None:
    """Refuse a damaged file, a file that is not a checkpoint, and one with other weights or settings.

    Args:
        ckpt_path: The checkpoint to resume from, if any.
        module: What the settings of this run build.
        settings: The settings of this run; not compared if None.

    Raises:
        ConfigurationError: With what is wrong with the file, the first weight that differs, or the settings that a
            resumed run cannot change, see `refuse_changed_settings`.

    Example::

        >>> refuse_unfit_checkpoint(None, nn.Linear(2, 1))

    """
    if ckpt_path in (None, LAST, AUTO):
        return
    checkpoint = load_checkpoint(str(ckpt_path), to_resume=True)
    found, wanted = checkpoint["state_dict"], module.state_dict()
    for name in sorted(found.keys() | wanted.keys()):
        there, here = (list(weights[name].shape) if name in weights else "none" for weights in (found, wanted))
        if there != here:
            raise ConfigurationError(
                f"ckpt_path: {ckpt_path} was trained with other settings: {printable(name)} is {there} there and {here}"
                " here; repeat the settings of that run, see hparams.yaml in its folder"
            )
    if settings is not None:
        refuse_changed_settings(str(ckpt_path), checkpoint, settings)
