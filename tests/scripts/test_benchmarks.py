"""The benchmarks: each runs and writes finite figures, and what is compared is what it is said to be."""

import json
import math
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from lightning.pytorch.demos.boring_classes import BoringModel

BENCHMARKS = Path(__file__).parents[2] / "scripts" / "benchmarks"
sys.path.insert(0, str(BENCHMARKS))

import callback_overhead  # noqa: E402
import memory  # noqa: E402
import overhead  # noqa: E402
import reading  # noqa: E402
import reference_loop  # noqa: E402
import scaling  # noqa: E402
import time_to_rmse  # noqa: E402
import training_step  # noqa: E402
import transformer  # noqa: E402
import workers  # noqa: E402

from vestim_pl.callbacks.runtime.denormals import flush_denormals, is_flushing  # noqa: E402
from vestim_pl.data import RecordingTable, WindowDataset  # noqa: E402
from vestim_pl.networks import build_network  # noqa: E402


@pytest.fixture
def table() -> RecordingTable:
    lengths = [40, 25, 33]
    return RecordingTable.of(
        list("abc"), [torch.randn(length, 3) for length in lengths], [torch.randn(length) for length in lengths]
    )


@pytest.fixture(autouse=True)
def _restore_threads_and_flushing() -> Iterator[None]:
    threads, flushing = torch.get_num_threads(), is_flushing()
    yield
    torch.set_num_threads(threads)
    flush_denormals(flushing)


def run_benchmark(main: Callable[[Sequence[str]], None], *arguments: str) -> list[dict]:
    path = Path("figures.json")
    main(["--quick", "--threads", "1", "--json", str(path), *arguments])
    content = json.loads(path.read_text())
    assert content["machine"]["cores"]
    assert path.with_suffix(".md").read_text().count("\n| ") == len(content["rows"]) + 2  # a head and a rule
    return content["rows"]


@pytest.mark.parametrize("horizon", [0, 1])
def test_reference_has_the_windows_and_targets_that_ours_has(table, horizon):
    lookback = 7
    ours = WindowDataset(table, lookback, horizon=horizon)
    windows, target = reference_loop.materialise_windows(table.inputs, table.target, table.borders, lookback, horizon)
    batch = ours.__getitems__(range(len(ours)))
    assert torch.equal(windows, batch.inputs)
    assert torch.equal(target, batch.target[:, -1])


@pytest.mark.parametrize("cell", ["LSTM", "GRU"])
def test_reference_is_the_same_network_and_takes_the_same_weights(cell):
    network = build_network({"name": cell, "hidden_sizes": [5, 4]}, features=3)
    reference = reference_loop.ReferenceNetwork(3, [5, 4], cell)
    with torch.no_grad():
        for own, other in zip(reference.parameters(), network.parameters(), strict=True):
            own.copy_(other)
    inputs = torch.randn(6, 11, 3)
    torch.testing.assert_close(reference(inputs)[:, 0], network(inputs)[0][:, -1])


def test_reference_learns():
    torch.manual_seed(0)
    inputs = torch.randn(64, 10, 2)
    loop = reference_loop.ReferenceLoop(inputs, inputs[:, -1, 0], [8], batch_size=32, lr=0.02)
    losses = [loop.step() for _ in range(60)]
    assert losses[-1] < 0.5 * losses[0]


def test_all_cases_of_time_to_rmse_are_scored_on_the_same_rows(table, monkeypatch):
    """An estimator that says its first feature: windows of both horizons and streams must agree on whom they score."""
    monkeypatch.setattr(time_to_rmse, "LOOKBACK", 6)
    monkeypatch.setattr(time_to_rmse, "STRIDE", 4)
    monkeypatch.setattr(time_to_rmse, "CHUNK", 9)
    table.inputs[:, 0] = table.target + torch.arange(table.rows) * 1e-3
    rows = [row for first, last in ((0, 40), (40, 65), (65, 98)) for row in range(first + 6, last, 4)]
    expected = np.sqrt(np.mean(np.square(rows)))
    windows = time_to_rmse.windows_rmse_mv(lambda x: x[:, -1, 0], table, table.inputs, horizon=0)
    streams = time_to_rmse.streams_rmse_mv(lambda x, state: (x[..., 0], state), table)
    assert windows == pytest.approx(expected, rel=1e-4)
    assert streams == pytest.approx(expected, rel=1e-4)
    starts, target = time_to_rmse.scored_windows(table, horizon=1)
    assert (starts + 6).tolist() == rows
    assert torch.equal(target, table.target[torch.tensor(rows)])


def test_seconds_to_a_threshold_are_those_of_the_first_look_below_it():
    looks = [{"seconds": s, "rmse_mv": r, "steps": 1} for s, r in ((1.0, 90.0), (2.0, 49.0), (3.0, 61.0), (4.0, 20.0))]
    streams, slow = {"name": "streams", "looks": looks}, {"name": "slow", "looks": [{**looks[0], "seconds": 50.0}]}
    assert [time_to_rmse.seconds_to(streams, mv) for mv in (60, 40, 10)] == [2.0, 4.0, None]
    assert time_to_rmse.table_row(slow, streams)["x streams at 50 mV"] == "> 25.0"
    assert time_to_rmse.table_row(streams, streams)["60 mV [s]"] == "2.0"


def test_ratio_is_of_the_same_round():
    slow, fast = [{"s": 2.0}, {"s": 40.0}, {"s": 2.0}], [{"s": 1.0}, {"s": 10.0}, {"s": 1.0}]
    assert workers.ratio(slow, fast, "s") == 2.0
    assert workers.median(slow, "s") == 2.0


def test_slope_is_in_multiples_of_a_row():
    rows = [1000, 2000, 4000]
    assert memory.slope(rows, [1e6 + 1.5 * memory.RAW_BYTES * count for count in rows]) == pytest.approx(1.5)


def test_reading_compares_the_same_columns_of_the_same_files(tmp_path):
    recordings = sorted(reading.demo_folder().rglob("*.parquet"))[:1]
    for name, (path,) in reading.write_formats(recordings, tmp_path).items():
        ours, plain = reading.read_table(path, wanted=reading.Columns()).frame, reading.plain(name, path)
        assert sorted(ours) == sorted(plain) == sorted(reading.WANTED)
        np.testing.assert_array_equal(ours[reading.WANTED], plain[reading.WANTED])
    assert [row["format"] for row in run_benchmark(reading.main, "--rounds", "1")] == ["Parquet", "CSV", "text"]


@pytest.mark.slow
def test_scaling_writes_every_panel_and_a_plot():
    rows = run_benchmark(scaling.main)
    assert {row["grows"] for row in rows} == {"rows", "lookback", "hidden size", "lanes"}
    assert all(row["us a sample"] > 0 for row in rows)
    assert Path("figures.png").stat().st_size > 1000


@pytest.mark.slow
def test_training_step_compares_both_sides_in_both_stages():
    cases = ["--cases", "reference, kept", "ours, flushed"]
    rows = run_benchmark(training_step.main, "--configurations", "guide_baseline", *cases)
    assert [row["stage"] for row in rows] == ["early", "after 20"]
    assert all(math.isfinite(row["speed-up"]) and row["speed-up"] > 0 for row in rows)
    assert all(row["both kept"] is None for row in rows)


def test_overhead_compares_the_whole_with_a_bare_loop():
    cases = ["--cases", "bare loop", "whole"]
    rows = run_benchmark(overhead.main, "--samplings", "streams", "--no-profile", *cases)
    assert [row["case"] for row in rows] == ["bare loop", "whole"]
    assert rows[0]["over the bare loop"] == 1
    assert math.isfinite(rows[1]["over the bare loop"])
    assert all(row["end of an epoch [ms]"] > 0 for row in rows)


@pytest.mark.slow
def test_callback_overhead_tells_each_callback_apart():
    cases = ["--cases", "CrashBundle", "safer", "tensor by tensor"]
    rows = {row["callbacks"]: row for row in run_benchmark(callback_overhead.main, "--samplings", "streams", *cases)}
    assert list(rows) == ["CrashBundle", "safer", "tensor by tensor"]
    assert all(math.isfinite(row["us in the loop"]) and row["+-"] > 0 for row in rows.values())
    assert all(row["us in the hooks"] > 0 for row in rows.values())
    parts = rows["safer"]["us by callback"]
    assert {"StepGuard", "FiniteParameterGuard", "DivergenceRecovery", "GradientNormMonitor"} <= set(parts)
    assert rows["safer"]["us in the hooks"] == pytest.approx(sum(parts.values()))
    assert rows["safer"]["us added"] < rows["safer"]["us in the hooks"]  # the guard's norm is that of clipping
    assert rows["CrashBundle"]["target"] is None


def test_clipping_that_the_trainer_no_longer_does_is_not_added():
    off = callback_overhead.Steps([0.020, 0.030, 0.040], 2, {"clipping": 6e-4})
    on = callback_overhead.Steps([0.021, 0.031, 0.041], 1, {"clipping": 1e-4, "Guard": 5e-4})
    row = callback_overhead.table_row("windows", "safer", on, off, [0.5e-3, 1e-3, 2e-3])
    assert row["us in the hooks"] == pytest.approx(500)
    assert row["us added"] == pytest.approx(300)
    assert row["added, % of the step"] == pytest.approx(1.0)
    assert row["us in the loop"] == pytest.approx(1000)
    assert row["loop, % of the step"] == pytest.approx(1000 / 300)
    assert row["+-"] == pytest.approx(1.57 * 1500 / 3**0.5)
    assert row["target"] == 3


def test_callbacks_are_switched_off_for_part_of_the_steps_and_times_are_kept_apart():
    class Slow(callback_overhead.pl.Callback):
        seen = 0

        def on_train_batch_start(self, *args):
            self.seen += 1
            time.sleep(0.01)

        def on_train_epoch_end(self, *args):
            time.sleep(0.05)  # not of a step

    class Module(BoringModel):
        clipped = ()

        def configure_gradient_clipping(self, *args, **kwargs):
            self.clipped = (*self.clipped, self.trainer.gradient_clip_val)
            super().configure_gradient_clipping(*args, **kwargs)

    slow, module = Slow(), Module()
    trainer = callback_overhead.pl.Trainer(
        max_epochs=100, limit_train_batches=20, limit_val_batches=0, callbacks=[slow], logger=False, accelerator="cpu",
        enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False,
    )  # fmt: skip
    switch = callback_overhead.Switch(trainer, module, steps=180)
    trainer.fit(module)
    on, off = switch.on, switch.off
    assert trainer.global_step == 180 + callback_overhead.SETTLING_STEPS
    counted = [len(steps.seconds) + steps.watched for steps in (on, off)]
    assert sum(counted) == 180 - 9  # without the first batch of each epoch
    assert min(counted) > 60
    assert min(on.watched, off.watched) > 5
    assert counted[0] < slow.seen <= trainer.global_step - counted[1]
    assert min(on.seconds) >= 0.01 > statistics.median(off.seconds)
    assert on.microseconds("Slow") == pytest.approx(statistics.median(on.seconds) * 1e6, rel=0.3)
    assert "Slow" not in off.hooks
    assert len(switch.differences) > 30
    assert 0.005 < statistics.median(switch.differences) < max(on.seconds)
    assert off.hooks["clipping"] > 0
    assert set(module.clipped) == {None, 1.0}


@pytest.mark.slow
def test_transformer_and_lstm_are_trained_for_the_same_compute_and_scored_on_the_same_rows():
    rows = run_benchmark(transformer.main, "--networks", "LSTM [32]", "Transformer [32]", "--largest-rate", "0.003")
    assert [(row["sampling"], row["network"]) for row in rows] == [
        (sampling, network) for sampling in ("windows", "streams") for network in ("LSTM [32]", "Transformer [32]")
    ]
    assert all(row["steps"] > 0 and math.isfinite(row["test, windows [mV]"]) for row in rows)
    assert all(math.isfinite(row["test, streamed [mV]"]) for row in rows)
    rates = json.loads(Path("figures_rates.json").read_text())["rows"]
    assert [row["network"] for row in rates] == ["LSTM [32]", "Transformer [32]"]


def test_windows_and_streams_of_the_benchmark_score_the_same_rows():
    table = RecordingTable.of(["a", "b"], [torch.randn(40, 3), torch.randn(30, 3)], [torch.rand(40), torch.rand(30)])

    def memoryless(inputs, state=None):
        return inputs[..., 0], state

    rows = torch.cat([torch.arange(9, 40), torch.arange(49, 70)])
    expected = float((table.inputs[rows, 0] - table.target[rows]).square().mean().sqrt()) * 1e3
    assert transformer.streamed_rmse_mv(memoryless, table, first=9) == pytest.approx(expected, rel=1e-5)
    assert transformer.windows_rmse_mv(memoryless, table, 10, first=9, stride=1) == pytest.approx(expected, rel=1e-5)


def test_the_rate_of_the_benchmark_rises_falls_and_ends_with_the_budget(monkeypatch):
    clock = iter([0.0, 0.0, 2.5, 50.0, 99.0, 100.0])
    monkeypatch.setattr(transformer.time, "process_time", lambda: next(clock))
    budget, group = transformer.Budget(seconds=100, rate=1.0), {"lr": None}
    trainer = SimpleNamespace(optimizers=[SimpleNamespace(param_groups=[group])], should_stop=False)
    rates = []
    while budget.on_train_batch_start(trainer, None, None, 0) != -1:
        rates.append(group["lr"])
    assert rates == pytest.approx([0.0, 0.5, 0.5, 0.000247], abs=1e-4)
    assert trainer.should_stop
    assert budget.steps == 4
