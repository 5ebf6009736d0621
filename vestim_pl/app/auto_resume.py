"""Find the checkpoint that ``ckpt_path=auto`` and ``last`` stand for: the one that loses the least training."""

import logging
from dataclasses import dataclass
from pathlib import Path

import torch

from vestim_pl.deploy.checkpoint import load_checkpoint
from vestim_pl.errors import ConfigurationError

__all__ = ["AUTO", "newest_checkpoint", "resolve_checkpoint"]

AUTO, LAST = "auto", "last"
_log = logging.getLogger("vestim_pl")


@dataclass(frozen=True)
class _Candidate:
    path: Path
    step: int
    written: float


def resolve_checkpoint(ckpt_path: str | None, run_dir: Path) -> str | None:
    """Resolve ``ckpt_path``: a path stays, ``auto`` becomes the newest sound checkpoint in the run's folder.

    ``last`` is ``last.ckpt`` of that folder; where there is none, Lightning looks for it.

    Without a checkpoint the run starts from the beginning, so that a batch job can have the same command line the first
    time and after every requeue.

    Args:
        ckpt_path: The setting.
        run_dir: The run's folder.

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


def newest_checkpoint(folder: Path) -> tuple[Path, dict[str, object]] | None:
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
    candidates = sorted(map(_look_at, folder.glob("*.ckpt")), key=_rank, reverse=True)
    faults: list[str] = []
    for candidate in candidates:
        try:
            return candidate.path, load_checkpoint(candidate.path, to_resume=True)
        except ConfigurationError as error:
            faults.append(str(error).removeprefix("ckpt_path: ").partition("; give ")[0])
            _log.warning("ckpt_path=auto: %s; trying the previous one", faults[-1])
    if faults:
        raise ConfigurationError(
            f"ckpt_path=auto: no checkpoint in {folder} can be resumed ({'; '.join(faults)}); give another folder with"
            " hydra.run.dir=..., or remove these files to start from the beginning"
        )
    return None


def _rank(candidate: _Candidate) -> tuple[bool, int, float]:
    return candidate.path.stem != "last_good", candidate.step, candidate.written


def _look_at(path: Path) -> _Candidate:
    """Read the step of a checkpoint without its tensors; an unreadable one ranks first, so that it is reported."""
    written = path.stat().st_mtime
    try:
        step = int(torch.load(path, map_location="cpu", weights_only=True, mmap=True)["global_step"])
    except Exception:  # damaged, or another kind of file: the check explains it
        return _Candidate(path, 2**63, written)
    return _Candidate(path, step, written)
