"""Read the files of a run folder."""

import json
import logging
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError  # type: ignore[import-untyped]

from vestim_pl.reports.csv_cells import original_cell
from vestim_pl.reports.recording_errors import error_table
from vestim_pl.reports.run_metrics import metric_files, read_metrics

__all__ = ["RunFolder"]

_log = logging.getLogger("vestim_pl")


@dataclass(frozen=True)
class RunFolder:
    """Files of a run.

    A run that died, a trial and a run without a test lack some files. Reading does not fail for that: the part stays
    empty and ``missing`` names the file.

    Attributes:
        path: The folder.
        config_text: The configuration as text; empty without one.
        config: The configuration, parsed, with interpolations unresolved.
        overrides: Overrides of the command line.
        metrics: Rows ``key``, ``epoch``, ``step``, ``value``, see `read_metrics`.
        parts: Number of metrics files; more than one if the run was resumed.
        events: Events in order, each with ``kind``, ``reason`` and a dictionary ``values``.
        errors: Test errors by recording, ``overall`` in the last row; None without a test. Where several checkpoints
            were tested, a first column ``checkpoint``, and these rows for each.
        steps: Measured and estimated voltage of every tested step; None without a test. It may have a column
            ``checkpoint`` too.
        provenance: Versions, machine and command.
        log: Lines of ``train.log``.
        missing: Files that are missing or unreadable, with the consequence.

    """

    path: Path
    config_text: str = ""
    config: dict[str, Any] = field(default_factory=dict)
    overrides: tuple[str, ...] = ()
    metrics: pd.DataFrame = field(default_factory=lambda: read_metrics([]))
    parts: int = 0
    events: tuple[dict[str, Any], ...] = ()
    errors: pd.DataFrame | None = None
    steps: pd.DataFrame | None = None
    provenance: dict[str, Any] = field(default_factory=dict)
    log: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()

    @classmethod
    def read(cls, path: Path) -> "RunFolder":
        """Read a run folder.

        Args:
            path: Folder of a run.

        Raises:
            NotADirectoryError: If there is no such folder.

        """
        if not path.is_dir():
            raise NotADirectoryError(f"{path} is not a folder; give the folder of a run, such as outputs/<date>/<time>")
        missing: list[str] = []
        config_text = _text(path / ".hydra" / "config.yaml", "the configuration", missing)
        files = metric_files(path)
        if not files:
            missing.append("metrics.csv: no learning curves")
        steps = _steps(path, missing)
        config = _yaml(config_text, ".hydra/config.yaml", missing, {})
        events = _events(path, missing)
        if "ckpt_path" in config and "optimizer" not in config:  # an evaluation has no events
            missing = [name for name in missing if not name.startswith("events")]
        return cls(
            path=path,
            config_text=config_text,
            config=config,
            overrides=tuple(str(item) for item in _overrides(path, missing)),
            metrics=read_metrics(files),
            parts=len(files),
            events=events,
            errors=_errors(path, steps, missing),
            steps=steps,
            provenance=_provenance(path, missing),
            log=_log_lines(path),
            missing=tuple(missing),
        )

    @property
    def trained(self) -> bool:
        """Whether the run logged anything in training; an evaluation logs only its test."""
        return not self.fit_metrics.empty

    @property
    def fit_metrics(self) -> pd.DataFrame:
        """Metrics of training and validation, without those of the test."""
        return self.metrics[~self.metrics["key"].astype(str).str.startswith("test/")]

    @property
    def epochs(self) -> int:
        """Number of epochs that logged anything."""
        epochs = self.fit_metrics["epoch"]
        return 0 if epochs.isna().all() else int(epochs.max()) + 1

    def setting(self, key: str, default: Any = None) -> Any:
        """Return a setting by its dotted name, or the default if the configuration lacks it.

        Example::

            >>> RunFolder(Path("."), config={"sampling": {"lookback": 200}}).setting("sampling.lookback")
            200

        """
        node: Any = self.config
        for part in key.split("."):
            if not isinstance(node, dict) or part not in node:
                return default
            node = node[part]
        return node


def _text(path: Path, what: str, missing: list[str]) -> str:
    if not path.is_file():
        missing.append(f"{path.parent.name}/{path.name}: {what} is missing")
        return ""
    return path.read_text(encoding="utf-8", errors="replace")


def _yaml(text: str, name: str, missing: list[str], empty: Any) -> Any:
    try:
        loaded = OmegaConf.to_container(OmegaConf.create(text), resolve=False)  # reads 1e-4 as a number
    except (YAMLError, OmegaConfBaseException):
        missing.append(f"{name}: is not valid YAML")
        return empty
    return loaded if isinstance(loaded, type(empty)) else empty


def _overrides(path: Path, missing: list[str]) -> list[Any]:
    text = _text(path / ".hydra" / "overrides.yaml", "the list of overrides", missing)
    return list(_yaml(text, ".hydra/overrides.yaml", missing, []))


def _events(path: Path, missing: list[str]) -> tuple[dict[str, Any], ...]:
    file = path / "events.jsonl"
    if not file.is_file():
        missing.append("events.jsonl: the events are unknown")
        return ()
    events, unreadable = [], 0
    for line in file.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            event = json.loads(line)
            kind, values = str(event["kind"]), event.get("values")  # the index refuses what is no dictionary
            event |= {"kind": kind, "reason": str(event.get("reason", ""))}
            events.append(event | {"values": values if isinstance(values, dict) else {}})
        except (ValueError, TypeError, KeyError):
            unreadable += bool(line.strip())
    if unreadable:
        missing.append(f"events.jsonl: {unreadable} unreadable line(s), perhaps cut off when the run died")
    return tuple(events)


def _steps(path: Path, missing: list[str]) -> pd.DataFrame | None:
    file = path / "test_steps.parquet"
    try:
        steps = pd.read_parquet(file)
    except FileNotFoundError:
        missing.append("test_steps.parquet: no plots of measured and estimated voltage")
        return None
    except (OSError, ValueError) as error:
        missing.append(f"test_steps.parquet: cannot be read ({error})")
        return None
    lacking = [name for name in ("recording", "time", "measured", "estimated") if name not in steps]
    if lacking:
        missing.append(f"test_steps.parquet: has no column {', '.join(lacking)}")
        return None
    texts = [name for name in ("checkpoint", "recording") if name in steps]
    return steps.assign(**{name: steps[name].astype(str) for name in texts})


def _errors(path: Path, steps: pd.DataFrame | None, missing: list[str]) -> pd.DataFrame | None:
    names = ["recording", "steps", "rmse_mv", "mae_mv", "max_error_mv"]
    try:
        errors = pd.read_csv(
            path / "test_errors.csv", converters={"recording": original_cell, "checkpoint": original_cell}
        )  # keeps the name NA
        if set(names) <= set(errors) and len(errors):
            return errors[[*(["checkpoint"] if "checkpoint" in errors else []), *names]]
        missing.append("test_errors.csv: is empty or lacks a column of " + ", ".join(names))
    except FileNotFoundError:
        computable = steps is not None and len(steps)
        missing.append(
            "test_errors.csv: missing; its figures are computed from test_steps.parquet"
            if computable
            else "test_errors.csv: the run was not tested"
        )
    except ValueError as error:
        missing.append(f"test_errors.csv: cannot be read ({error})")
    return error_table(steps) if steps is not None and len(steps) else None


def _provenance(path: Path, missing: list[str]) -> dict[str, Any]:
    try:
        loaded = json.loads((path / "provenance.json").read_text(encoding="utf-8"))
    except FileNotFoundError:
        missing.append("provenance.json: versions and machine are unknown")
        return {}
    except ValueError:
        missing.append("provenance.json: is not valid JSON")
        return {}
    return loaded if isinstance(loaded, dict) else {}


def _log_lines(path: Path) -> tuple[str, ...]:
    file = path / "train.log"
    return tuple(file.read_text(encoding="utf-8", errors="replace").splitlines()) if file.is_file() else ()
