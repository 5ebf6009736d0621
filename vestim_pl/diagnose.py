"""Find what will go wrong in a training, or what went wrong: `python -m vestim_pl.diagnose +preset=safer`."""

from vestim_pl.lightning_support import early_signals  # noqa: F401 - before torch, whose import takes seconds

# isort: split
import sys

from vestim_pl.app.command import is_multirun, run_command

if __name__ == "__main__":  # before the imports below, so that a mistake on the command line is reported at once
    sys.exit(max(run_command("vestim_pl.diagnose:main", "diagnose"), default=0))

# isort: split
import json
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import lightning.pytorch as pl
from lightning.pytorch.utilities.exceptions import MisconfigurationException
from omegaconf import DictConfig

from vestim_pl.app.configuration import build, plain
from vestim_pl.app.dry_run import dry_run
from vestim_pl.app.early_check import refuse_missing_checkpoint
from vestim_pl.app.estimator import build_estimator, reset_global_state
from vestim_pl.app.interruption import finish_first, now
from vestim_pl.app.resume import refuse_unfit_checkpoint
from vestim_pl.app.threads import choose_threads
from vestim_pl.app.trainer import process_count_of, quiet_lightning
from vestim_pl.data import VoltageDataModule
from vestim_pl.diagnosis import (
    ClipSetting,
    Finding,
    Plan,
    QuickTest,
    Severity,
    diagnose_data,
    diagnose_run,
    diagnose_settings,
    diagnose_training,
    measure,
    one_value_each,
    print_findings,
    print_quick_test,
    quick_test_run,
    quick_test_title,
    worst,
)
from vestim_pl.errors import ConfigurationError, FileError
from vestim_pl.files import whole_file
from vestim_pl.lightning_support.precision import resolve_precision
from vestim_pl.reports.run_folder import RunFolder
from vestim_pl.settings.checks import check_choice

__all__ = ["diagnose", "exit_status", "main"]

_log = logging.getLogger("vestim_pl")
NOTHING_WRITTEN = "nothing was written; the same command starts again"
QUICK_TEST = "quick_test"
FILES_OF_A_RUN = (".hydra", "events.jsonl", "metrics.csv", "train.log")
WARNINGS, ERRORS = 2, 3


def diagnose(config: DictConfig) -> list[Finding]:
    """Find problems of a configuration before training, or of a finished run where ``run`` names its folder.

    Before training nothing is written: the recordings are read, and a few steps are made on copies.

    Args:
        config: The composed configuration of ``conf/diagnose.yaml``.

    Raises:
        ConfigurationError: If settings contradict each other, or ``run`` is not the folder of a run.
        DataError: If a recording cannot be used.

    """
    now("diagnosing", NOTHING_WRITTEN)
    check_choice("fail_on", str(config.fail_on), ("warning", "error", "never"))
    check_choice("checks", str(config.checks), ("all", QUICK_TEST))
    if config.run:
        return _after_run(config)
    if config.checks == QUICK_TEST:
        raise ConfigurationError("checks: quick_test judges a finished run; name its folder with run=DIR")
    findings = sorted(_before_training(config), key=lambda finding: -finding.severity.rank)
    with finish_first("printing and writing the findings"):
        print_findings(findings, "Before training")
        _write(findings, "Before training", Path(str(config.json)) if config.json else None)
    return findings


def exit_status(severity: Severity, fail_on: str) -> int:
    """Choose the exit status for the worst severity found: 2 for warnings, 3 for errors, 0 below ``fail_on``.

    Every command returns 1 for a mistake of the user.

    Example::

        >>> exit_status(Severity.WARNING, "warning"), exit_status(Severity.WARNING, "error")
        (2, 0)
        >>> exit_status(Severity.ERROR, "error"), exit_status(Severity.ERROR, "never")
        (3, 0)

    """
    if fail_on == "never":
        return 0
    if severity is Severity.ERROR:
        return ERRORS
    return WARNINGS if severity is Severity.WARNING and fail_on == "warning" else 0


def main(config: DictConfig) -> int:
    """Task of the command: diagnose; returns the exit status."""
    findings = diagnose(config)
    severity = QuickTest(findings).severity if config.checks == QUICK_TEST else worst(findings)
    return exit_status(severity, str(config.fail_on))


def _after_run(config: DictConfig) -> list[Finding]:
    path = Path(str(config.run))
    if not any((path / name).exists() for name in FILES_OF_A_RUN):
        what = f"holds no run (none of {', '.join(FILES_OF_A_RUN)})" if path.is_dir() else "is not a folder"
        raise ConfigurationError(f"run: {path} {what}; give the folder of one, such as outputs/<date>/<time>")
    run = RunFolder.read(path)
    monitors = quick_test_run(run)
    test = QuickTest(monitors)
    if config.checks == QUICK_TEST:
        bad_data = any(each.check == "non-finite" and each.severity is Severity.ERROR for each in monitors)
        if not run.trained and not bad_data:
            raise ConfigurationError(
                f"run: {path} trained nothing, so there is nothing to judge; its train.log has the reason"
            )
        title = quick_test_title(run)
        with finish_first("printing and writing the verdict"):
            print_quick_test(test, title)
            target = Path(str(config.json)) if config.json else path / "quick_test.json"
            _write(monitors, title, target, verdict=test.line)
        return monitors
    findings, title = diagnose_run(run), f"Run {path}"
    with finish_first("printing and writing the findings"):
        print_findings(findings, title)
        if run.trained:
            print(test.line)
        _write(findings, title, Path(str(config.json)) if config.json else path / "diagnosis.json")
    return findings


def _before_training(config: DictConfig) -> list[Finding]:
    settings = {name: plain(config[name]) for name in ("network", "optimizer", "sampling", "trainer", "callbacks")}
    refuse_missing_checkpoint(config.ckpt_path)
    quiet_lightning()
    reset_global_state(config)
    datamodule: VoltageDataModule = build(config.data, sampling=build(config.sampling))
    datamodule.setup("fit")
    estimator = build_estimator(config, datamodule)
    refuse_unfit_checkpoint(config.ckpt_path, estimator)
    trainer = dry_run(config, estimator, datamodule)
    now("measuring a few steps", NOTHING_WRITTEN)
    idle_trainer = _idle_trainer(config)
    choose_threads(idle_trainer, estimator, datamodule.sampling, config.ckpt_path)
    precision = str(idle_trainer.precision)
    parameters = sum(parameter.numel() for parameter in estimator.parameters() if parameter.requires_grad)
    clip = ClipSetting.of(settings["trainer"], settings["callbacks"])
    found = measure(estimator, datamodule, idle_trainer, (clip.threshold, clip.algorithm))
    plan = Plan.of(trainer, found.batches, found.validation_batches, process_count_of(config))
    return one_value_each(
        [
            *diagnose_training(settings, datamodule, parameters, precision, found, plan),
            *diagnose_settings(settings, precision, is_multirun()),
            *diagnose_data(datamodule),
        ]
    )


def _idle_trainer(config: DictConfig) -> pl.Trainer:
    """Build a trainer that only knows device and precision: it fits nothing and writes nothing."""
    precision = resolve_precision(config.trainer.get("precision"), config.trainer.get("accelerator", "auto"))
    try:
        return pl.Trainer(
            accelerator=config.trainer.get("accelerator", "auto"), devices=1, precision=cast("Any", precision),
            logger=False, enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False,
        )  # fmt: skip
    except (MisconfigurationException, ValueError, RuntimeError) as error:
        raise ConfigurationError(f"trainer: {str(error).splitlines()[0]}") from error


def _write(findings: Sequence[Finding], title: str, path: Path | None, **more: str) -> None:
    if path is None:
        return
    written = {
        "title": title, "severity": worst(findings).value, **more, "findings": [each.as_dict() for each in findings],
    }  # fmt: skip
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with whole_file(path) as partial:
            partial.write_text(json.dumps(written, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    except FileError as error:
        raise FileError(f"json: {error}, or name another file with json=...") from error
    except OSError as error:
        raise ConfigurationError(
            f"json: {path} cannot be written: {error.strerror or error}; name another file with json=..."
        ) from error
    _log.info("written to %s", path)
