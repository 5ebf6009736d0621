"""The train command, which sends itself a signal at a chosen moment: environment SIGNAL_AT, SIGNAL and SIGNAL_RANK.

``python -m tests.integration.signal_at OVERRIDES``; the moments are those of ``MOMENTS``.
"""

import os
import signal
from collections.abc import Callable
from typing import Any

import vestim_pl.app.ending
import vestim_pl.train
from vestim_pl.app.command import run_command
from vestim_pl.data.split_reader import SplitReader
from vestim_pl.estimator import VoltageEstimator

EPOCHS, STEPS = 3, 4
# method that sends the signal: (class or module, its name, batch index, step at which)
MOMENTS: dict[str, tuple[Any, str, int | None, int | None]] = {
    "reading": (SplitReader, "read", None, None),
    "first step": (VoltageEstimator, "training_step", 0, 0),
    "mid-epoch": (VoltageEstimator, "training_step", 1, STEPS + 1),
    "last batch": (VoltageEstimator, "training_step", STEPS - 1, 2 * STEPS - 1),
    "validation": (VoltageEstimator, "validation_step", 1, STEPS),
    "last epoch": (VoltageEstimator, "training_step", 2, EPOCHS * STEPS - 2),
    "last validation": (VoltageEstimator, "validation_step", 0, EPOCHS * STEPS),
    "test": (VoltageEstimator, "test_step", 0, None),
    "report": (vestim_pl.app.ending, "write_report", None, None),
}


def send_at(moment: str, number: int, times: int = 1) -> Callable[[], None]:
    """Make the method of a moment send this process the signal first; return a function that undoes this."""
    owner, name, batch, step = MOMENTS[moment]
    original = getattr(owner, name)
    left = [times]

    def sending(*arguments: Any, **options: Any) -> Any:
        here = batch is None or (arguments[2] == batch and step in (None, arguments[0].trainer.global_step))
        while here and left[0] > 0:
            left[0] -= 1
            os.kill(os.getpid(), number)
        return original(*arguments, **options)

    setattr(owner, name, sending)
    return lambda: setattr(owner, name, original)


if __name__ == "__main__":
    rank = os.environ.get("LOCAL_RANK", "0")
    if os.environ.get("SIGNAL_RANK", "0") in (rank, "all"):
        send_at(os.environ["SIGNAL_AT"], getattr(signal, os.environ["SIGNAL"]))
    run_command(vestim_pl.train.main, "train", after_multirun="vestim_pl.reports.sweep_report:report_sweep")
