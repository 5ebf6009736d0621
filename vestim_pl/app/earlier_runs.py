"""Keep one history in a folder: files of an earlier run are moved into a subfolder before a new run writes.

Hydra writes settings and opens the log before the command starts, so Hydra itself calls `SetAsideEarlierRun`.
"""

import csv
import json
import logging
import shutil
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Any

from hydra.experimental.callback import Callback
from omegaconf import DictConfig, OmegaConf

from vestim_pl.app.refusal import RefusedRun, composed
from vestim_pl.app.slurm import requeued_checkpoint
from vestim_pl.errors import ConfigurationError
from vestim_pl.files import whole_file
from vestim_pl.lightning_support.stop_request import is_first_process

__all__ = ["LOGS", "SetAsideEarlierRun", "prepare_folder", "resumes", "rewind", "set_aside"]

_log = logging.getLogger("vestim_pl")

LOGS = (".hydra", "train.log", "evaluate.log", "*_ddp_process_*.log")  # what Hydra writes before the command starts
_HISTORY = ("metrics.csv", "metrics.*.csv", "events.jsonl", "provenance.json", "hparams.yaml")
_RESULTS = ("test_errors.csv", "test_errors_by.csv", "test_steps.parquet", "report.html", "diagnosis.json")
_FOLDERS = ("checkpoints", "bundles", "gradient_flow")
_SIGNS = (".hydra", "train.log", "evaluate.log", "metrics.csv", "events.jsonl", "test_errors.csv")
_OF_A_SWEEP = ("multirun.yaml", "optimization_results.yaml", "sweep.csv", "sweep.html")


def resumes(folder: Path, ckpt_path: str | None) -> bool:
    """Whether a run continues the history in its folder, rather than starting a new one.

    Args:
        folder: Folder of the run.
        ckpt_path: The checkpoint it starts from; ``auto`` and ``last`` stand for one in the folder.

    Example::

        >>> resumes(Path("run"), "run/checkpoints/last.ckpt"), resumes(Path("run"), "other/checkpoints/last.ckpt")
        (True, False)
        >>> resumes(Path("run"), "run/earlier-1/checkpoints/last.ckpt"), resumes(Path("run"), None)
        (False, False)

    """
    if not ckpt_path:
        return False
    if ckpt_path in ("auto", "last"):
        return any((folder / "checkpoints").glob("*.ckpt"))
    path, place = Path(ckpt_path).resolve(), folder.resolve()
    return place in path.parents and not path.relative_to(place).parts[0].startswith("earlier-")


def set_aside(folder: Path, keep: Collection[str] = ()) -> Path | None:
    """Move the files of an earlier run into the subfolder ``earlier-1``, or the next free number.

    Args:
        folder: Folder of a run. Files that no command of this package writes stay where they are.
        keep: Patterns of names that stay, such as `LOGS`.

    Returns:
        Where the earlier run is now; None where there was none.

    """
    if not any((folder / name).exists() for name in _SIGNS if name not in keep):
        return None
    found = _matching(folder, (*LOGS, *_HISTORY, *_RESULTS, *_FOLDERS))
    kept = _matching(folder, keep)
    return _move([path for path in found if path not in kept], folder)


def rewind(folder: Path, step: int) -> Path | None:
    """Remove from a run's history what came after a checkpoint, before the run resumes from it.

    Metrics from that step on, later events and the test results belong to a training that does not continue. The
    original files, and copies of later checkpoints, are kept in ``earlier-1`` or the next free number.

    Args:
        folder: Folder of the run.
        step: Optimizer steps made before the checkpoint.

    Returns:
        Where the original files are now; None where nothing came after the checkpoint.

    """
    later = {path: kept for path in _matching(folder, _HISTORY) if (kept := _until(path, step)) is not None}
    results = _matching(folder, _RESULTS)
    ahead = [path for path in (folder / "checkpoints").glob("*.ckpt") if _step_of(path) > step]
    if not (later or ahead or any(path.name.startswith("test_") for path in results)):
        return None
    moved_to = _next_free(folder)
    for path in (*later, *ahead):
        copy = moved_to / path.relative_to(folder)
        copy.parent.mkdir(exist_ok=True)
        shutil.copy2(path, copy)
    for path, text in later.items():
        with whole_file(path) as partial:
            partial.write_text(text, encoding="utf-8", newline="")
    for path in results:
        path.rename(moved_to / path.name)
    return moved_to


def prepare_folder(folder: Path, ckpt_path: str | None) -> None:
    """Keep in a run's folder only the history that this run continues; log in one line what was moved.

    Args:
        folder: Folder of the run, into which Hydra may have written settings and log by now.
        ckpt_path: The checkpoint the run resumes from, if any.

    """
    if not resumes(folder, ckpt_path):
        if (moved_to := set_aside(folder, keep=LOGS)) is not None:
            _log.info("%s held an earlier run, which is now in %s", folder, moved_to)
        return
    path = folder / "checkpoints" / "last.ckpt" if ckpt_path in ("auto", "last") else Path(str(ckpt_path))
    step = _step_of(path)
    if step >= 0 and (moved_to := rewind(folder, step)) is not None:
        _log.info("resuming at step %s; what this folder held of later steps is in %s", f"{step:,}", moved_to)
    metrics = folder / "metrics.csv"
    if metrics.is_file():  # Lightning's logger would delete it
        metrics.rename(folder / f"metrics.{len(list(folder.glob('metrics.*.csv'))) + 1}.csv")


class SetAsideEarlierRun(Callback):
    """Hydra callback: move an earlier run away before a new run writes into its folder, and log that.

    A run that resumes from a checkpoint of the folder continues its history. A command that writes no files of its own
    into the folder (``hydra.output_subdir: null``, further processes of a training) changes nothing.

    Args:
        trains: Whether the command can resume a run; otherwise it must not write into the folder of its checkpoint.

    """

    def __init__(self, trains: bool = True) -> None:
        self.trains = trains
        self._message: str | None = None

    def on_run_start(self, config: DictConfig, **kwargs: Any) -> None:
        if config.hydra.output_subdir is None or not is_first_process():
            return
        folder = Path(_resolved(config, "hydra.run.dir"))
        ckpt_path = _resolved(config, "ckpt_path") or requeued_checkpoint(folder)
        several = [ckpt_path] if ckpt_path is None or isinstance(ckpt_path, str) else map(str, ckpt_path)
        if made := next((path for path in several if resumes(folder, path)), None):
            if not self.trains and (folder / ".hydra").exists():
                _refuse(f"{folder} is the folder of the run that made {made}, and its files would be overwritten")
            return
        self._set_aside(lambda: set_aside(folder), folder)

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        numbered = OmegaConf.to_container(config.hydra.sweep, resolve=False)["subdir"] == "${hydra.job.num}"  # type: ignore[index,call-overload]
        folder = Path(_resolved(config, "hydra.sweep.dir"))
        if not numbered or not folder.is_dir():
            return
        jobs = [path for path in folder.iterdir() if path.name.isdigit() and (path / ".hydra").is_dir()]
        self._set_aside(lambda: _move([*jobs, *_matching(folder, _OF_A_SWEEP)], folder), folder)

    def on_job_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Log what was moved, now that there is a log."""
        if self._message is not None:
            _log.info("%s", self._message)
            self._message = None

    def _set_aside(self, move: Any, folder: Path) -> None:
        try:
            if (moved_to := move()) is not None:
                self._message = f"{folder} held an earlier run, which is now in {moved_to}"
        except OSError as error:  # Hydra would only warn, and the two runs would mix
            _refuse(f"the earlier run in {folder} cannot be moved ({error.strerror})")


def _refuse(reason: str) -> None:
    raise RefusedRun(ConfigurationError(f"hydra.run.dir: {reason}; choose another folder with hydra.run.dir=..."))


def _resolved(config: DictConfig, key: str) -> Any:
    with composed(config):
        return OmegaConf.select(config, key)


def _matching(folder: Path, patterns: Iterable[str]) -> list[Path]:
    return sorted({path for pattern in patterns for path in folder.glob(pattern)})


def _move(paths: list[Path], folder: Path) -> Path | None:
    if not paths:
        return None
    moved_to = _next_free(folder)
    for path in paths:
        path.rename(moved_to / path.name)
    return moved_to


def _next_free(folder: Path) -> Path:
    number = 1
    while (moved_to := folder / f"earlier-{number}").exists():
        number += 1
    moved_to.mkdir()
    return moved_to


def _until(path: Path, step: int) -> str | None:
    """Text of a file of metrics or events up to a step; None where nothing came after it."""
    if path.suffix not in (".csv", ".jsonl"):
        return None
    with path.open(encoding="utf-8", errors="replace", newline="") as file:
        lines = file.read().splitlines(keepends=True)
    if path.suffix == ".jsonl":
        kept = [line for line in lines if _event_step(line) <= step]
    else:  # Lightning numbers steps from 0, and no number that it logs has a line break
        rows = list(csv.reader(lines))
        column = rows[0].index("step") if rows and "step" in rows[0] else None
        kept = [
            line
            for index, (line, row) in enumerate(zip(lines, rows, strict=False))
            if not index or column is None or _number(row, column) < step
        ]
    return "".join(kept) if len(kept) < len(lines) else None


def _event_step(line: str) -> float:
    try:
        return float(json.loads(line)["step"])
    except (ValueError, TypeError, KeyError):
        return -1.0


def _number(row: list[str], column: int) -> float:
    try:
        return float(row[column])
    except (ValueError, IndexError):
        return -1.0


def _step_of(checkpoint: Path) -> int:
    """Read the step of a checkpoint; -1 for another kind of file, which is no part of a history."""
    from vestim_pl.app.resume import step_of  # imports torch, which takes seconds; only a run that resumes needs it

    step = step_of(checkpoint)
    return -1 if step is None else step
