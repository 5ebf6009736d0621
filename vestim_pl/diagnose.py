"""Find what will go wrong in a training, or what went wrong: `python -m vestim_pl.diagnose +preset=safer`."""

from vestim_pl.lightning_support import early_signals  # noqa: F401 - before torch, whose import takes seconds

# isort: split
import sys

from vestim_pl.app.command import is_multirun, run_command

if __name__ == "__main__":  # before the imports below, so that a mistake on the command line is reported at once
    sys.exit(max(run_command("vestim_pl.diagnose:main", "diagnose"), default=0))

# isort: split
from pathlib import Path

from omegaconf import DictConfig

from vestim_pl.app.changed_settings import settings_of
from vestim_pl.app.conf_tree import plain
from vestim_pl.app.dry_run import dry_run, idle_trainer
from vestim_pl.app.early_check import refuse_missing_checkpoint
from vestim_pl.app.estimator import build_estimator, read_recordings, reset_global_state
from vestim_pl.app.interruption import finish_first, now
from vestim_pl.app.resume import refuse_unfit_checkpoint
from vestim_pl.app.threads import choose_threads
from vestim_pl.app.trainer import process_count_of, quiet_lightning
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
    write_findings,
)
from vestim_pl.errors import ConfigurationError
from vestim_pl.reports.run_folder import RunFolder
from vestim_pl.settings.checks import check_choice

__all__ = ["diagnose", "exit_status", "main"]

QUICK_TEST = "quick_test"
FILES_OF_A_RUN = (".hydra", "events.jsonl", "metrics.csv", "train.log")
NOTHING_WRITTEN = "nothing was written; the same command starts again"
WARNINGS, ERRORS = 2, 3


def main(config: DictConfig) -> int:
    """Task of the command: diagnose; returns the exit status."""
    findings = diagnose(config)
    severity = QuickTest(findings).severity if config.checks == QUICK_TEST else worst(findings)
    return exit_status(severity, str(config.fail_on))


def diagnose(config: DictConfig) -> list[Finding]:
    """Find problems of a configuration before training, or of a run where ``run`` names its folder.

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
    json = Path(str(config.json)) if config.json else None
    if config.run:
        run = _read_run(Path(str(config.run)))
        return _quick_test(run, json) if config.checks == QUICK_TEST else _after_run(run, json)
    if config.checks == QUICK_TEST:
        raise ConfigurationError("checks: quick_test judges a finished run; name its folder with run=DIR")
    findings = sorted(_before_training(config), key=lambda finding: -finding.severity.rank)
    with finish_first("printing and writing the findings"):
        print_findings(findings, "Before training")
        if json:
            write_findings(findings, "Before training", json)
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


def _before_training(config: DictConfig) -> list[Finding]:
    settings = {name: plain(config[name]) for name in ("network", "optimizer", "sampling", "trainer", "callbacks")}
    refuse_missing_checkpoint(config.ckpt_path)
    quiet_lightning()
    reset_global_state(config)
    datamodule = read_recordings(config, "fit")
    estimator = build_estimator(config, datamodule)
    refuse_unfit_checkpoint(config.ckpt_path, estimator, settings_of(config))
    trainer = dry_run(config, estimator, datamodule)
    now("measuring a few steps", NOTHING_WRITTEN)
    idle = idle_trainer(config)
    choose_threads(idle, estimator, datamodule.sampling, config.ckpt_path)
    precision = str(idle.precision)
    parameters = sum(parameter.numel() for parameter in estimator.parameters() if parameter.requires_grad)
    clip = ClipSetting.of(settings["trainer"], settings["callbacks"])
    found = measure(estimator, datamodule, idle, (clip.threshold, clip.algorithm))
    plan = Plan.of(trainer, found.batches, found.validation_batches, process_count_of(config))
    return one_value_each(
        [
            *diagnose_training(settings, datamodule, parameters, precision, found, plan),
            *diagnose_settings(settings, precision, is_multirun()),
            *diagnose_data(datamodule),
        ]
    )


def _read_run(path: Path) -> RunFolder:
    if not any((path / name).exists() for name in FILES_OF_A_RUN):
        what = f"holds no run (none of {', '.join(FILES_OF_A_RUN)})" if path.is_dir() else "is not a folder"
        raise ConfigurationError(f"run: {path} {what}; give the folder of a run, such as outputs/<date>/<time>")
    return RunFolder.read(path)


def _quick_test(run: RunFolder, json: Path | None) -> list[Finding]:
    monitors, title = quick_test_run(run), quick_test_title(run)
    bad_data = any(each.check == "non-finite" and each.severity is Severity.ERROR for each in monitors)
    if not run.trained and not bad_data:
        raise ConfigurationError(
            f"run: {run.path} trained nothing, so there is nothing to judge; its train.log has the reason"
        )
    test = QuickTest(monitors)
    with finish_first("printing and writing the verdict"):
        print_quick_test(test, title)
        write_findings(monitors, title, json or run.path / "quick_test.json", verdict=test.line)
    return monitors


def _after_run(run: RunFolder, json: Path | None) -> list[Finding]:
    findings, title = diagnose_run(run), f"Run {run.path}"
    with finish_first("printing and writing the findings"):
        print_findings(findings, title)
        if run.trained:
            print(QuickTest(quick_test_run(run)).line)
        write_findings(findings, title, json or run.path / "diagnosis.json")
    return findings
