"""The benchmark of the guide's claims: each variant changes what it says, and a divergence is seen."""

import json
import math
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parents[3] / "scripts" / "benchmarks"))

import guide_claims

from vestim_pl.callbacks.runtime.flush_denormals import is_flushing

SHORT = ["sampling.lookback=20", "sampling.stride=50"]


@pytest.fixture(autouse=True)
def _restore_threads_and_flushing() -> Iterator[None]:
    threads, flushing = torch.get_num_threads(), is_flushing()
    yield
    torch.set_num_threads(threads)
    torch.set_flush_denormal(flushing)


def train(*overrides: str, rate: float = 1e-3, steps: int = 3) -> guide_claims.Outcome:
    return guide_claims.train(None, [*SHORT, *overrides], rate, seed=0, steps=steps)


def test_a_training_that_diverges_ends_there_and_counts_as_not_finite():
    outcome = train(rate=1e30)
    assert not outcome.finite
    assert len(outcome.losses) < 3
    assert math.isnan(outcome.validation_mv)


def test_every_setting_reaches_the_training():
    plain = train("trainer.gradient_clip_val=null")
    assert plain.finite
    assert plain.clipped == 0
    assert train("trainer.gradient_clip_val=1e-6").clipped == 3
    assert train("optimizer.weight_decay=100.0").weights[1] < plain.weights[1]
    warm = train("callbacks=[default,warmup]", "callbacks.warmup.duration=1000", rate=1.0)
    assert abs(warm.weights[1] - warm.weights[0]) < 0.1 < abs(train(rate=1.0).weights[1] - warm.weights[0])


@pytest.mark.slow
def test_the_table_has_a_line_for_each_rate_and_variant(tmp_path):
    path = tmp_path / "figures.json"
    guide_claims.main(["--quick", "--threads", "1", "--questions", "clipping", "--json", str(path)])
    rows = json.loads(path.read_text())["rows"]
    assert [(row["rate"], row["variant"]) for row in rows] == [
        (rate, variant) for rate in ("0.0001", "0.01", "1", "10") for variant in ("0.5", "1.0", "none")
    ]
    assert all(row["clipped [%]"] == 0 for row in rows if row["variant"] == "none")
