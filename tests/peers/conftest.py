"""All stability callbacks, and a NaN for one batch, for models of other packages."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.which_lightning import Callback
from vestim_pl.callbacks import (
    AdaptiveGradientClipping,
    CrashBundle,
    DivergenceRecovery,
    EpochSummary,
    EventLog,
    FiniteParameterGuard,
    GradientNoise,
    GradientNormMonitor,
    LearningRateWarmup,
    RandomStateCheckpoint,
    StepGuard,
)

Callbacks = dict[str, Any]


class NanInOneBatch(Callback):
    """Write a NaN into the sixth batch that the training sees.

    Args:
        values: Returns the tensor of a batch to write into.

    """

    def __init__(self, values: Callable[[Any], Any]) -> None:
        self.values = values
        self.batches = 0

    def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
        self.batches += 1
        if self.batches == 6:
            self.values(batch)[0] = float("nan")


@pytest.fixture
def stability(tmp_path: Path) -> Callable[..., Callbacks]:
    """Return a function that builds every stability callback, by name, in an order that works."""

    def build(folder: str = "run", **changed: Any) -> Callbacks:
        return {
            "guard": StepGuard(),
            "norms": GradientNormMonitor(),
            "clipping": AdaptiveGradientClipping(),
            "noise": GradientNoise(1e-6),
            "warmup": LearningRateWarmup(4),
            "parameters": FiniteParameterGuard(),
            "bundles": CrashBundle(tmp_path / folder / "bundles"),
            "recovery": DivergenceRecovery(snapshot_every=2, max_attempts=8),
            "summary": EpochSummary(),
            "events": EventLog(tmp_path / folder / "events.jsonl"),
            "random": RandomStateCheckpoint(),
        } | changed

    return build
