"""A run folder as a training leaves it, with a plausible story: a skip, a rollback, a plateau, an early stop."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

STEPS_PER_EPOCH = 200
CONFIG = """\
trainer:
  _target_: lightning.pytorch.Trainer
  max_epochs: 50
  gradient_clip_val: 1.0
data:
  root: demo
sampling:
  lookback: 200
  batch_size: 256
  evaluation: windows
network:
  name: LSTM
  hidden_sizes:
  - 32
optimizer:
  name: Adam
  lr: 1e-4
run_dir: ${hydra:runtime.output_dir}
"""


def metrics_frame(epochs: range, seed: int = 0) -> pd.DataFrame:
    """Rows as Lightning's CSVLogger writes them: one row a logging call, most cells empty."""
    rng = np.random.default_rng(seed)
    rows: list[dict[str, float]] = []
    rate = 1e-4
    for epoch in epochs:
        first = epoch * STEPS_PER_EPOCH
        rate = 1e-4 * (0.1 if epoch >= 14 else 1.0)
        for step in range(first + 49, first + STEPS_PER_EPOCH, 50):
            norm = float(4.0 * np.exp(-epoch / 6) * rng.lognormal(0, 0.6))
            rows.append(
                {"epoch": epoch, "step": step, "grad_norm/pre_clip": norm, "grad_norm/post_clip": min(norm, 1.0)}
            )
            rows.append({"epoch": epoch, "step": step, "learning_rate": rate * min(1.0, (step + 1) / 500)})
            rows.append({"epoch": epoch, "step": step, "train/loss": float(np.exp(-epoch / 5))})
        last = first + STEPS_PER_EPOCH - 1
        val = 15.0 + 150.0 * float(np.exp(-epoch / 3)) + float(rng.normal(0, 0.6))
        rows.append(
            {"epoch": epoch, "step": last, "val/rmse_mv": val, "val/mae_mv": 0.7 * val, "val/max_error_mv": 9 * val}
        )
        rows.append({"epoch": epoch, "step": last, "train/rmse_mv": 1.3 * val + 2.0})
    return pd.DataFrame(rows)


def recording(name: str, seconds: int, sigma: float, seed: int) -> pd.DataFrame:
    """A discharge with sags and an estimate that is off by a slowly wandering error."""
    rng = np.random.default_rng(seed)
    time = np.arange(seconds, dtype=np.float64)
    soc = 1.0 - 0.9 * time / seconds
    load = np.convolve(rng.normal(0, 1, seconds), np.ones(20) / 20, mode="same")
    measured = 3.2 + 0.9 * soc + 0.25 * load
    wander = np.convolve(rng.normal(0, 1, seconds + 400), np.ones(400) / 20, mode="valid")[:seconds]
    estimated = measured + 1e-3 * sigma * (0.6 * wander + 0.5 * rng.normal(0, 1, seconds) + 2.0 * (load < -0.5))
    frame = {"recording": name, "time": time, "measured": measured, "estimated": estimated}
    return pd.DataFrame(frame).astype({"measured": np.float32, "estimated": np.float32})


def recordings() -> pd.DataFrame:
    """Three drive cycles at five ambient temperatures, colder is worse."""
    temperatures = {"n10degC": 26.0, "0degC": 17.0, "10degC": 12.0, "25degC": 8.0, "40degC": 7.0}
    parts = [
        recording(f"{cycle}_{place}", 2400 + 300 * number, sigma * (1 + 0.2 * number), seed=10 * number + index)
        for number, cycle in enumerate(("urban", "highway", "aggressive"))
        for index, (place, sigma) in enumerate(temperatures.items())
    ]
    return pd.concat(parts, ignore_index=True)


def error_table(steps: pd.DataFrame) -> pd.DataFrame:
    """Written out here once more, so that a mistake in the package's own table shows."""

    def row(name: str, part: pd.DataFrame) -> dict[str, object]:
        error = 1000.0 * (part["estimated"].to_numpy(np.float64) - part["measured"].to_numpy(np.float64))
        return {
            "recording": name,
            "steps": len(part),
            "rmse_mv": float(np.sqrt((error**2).mean())),
            "mae_mv": float(np.abs(error).mean()),
            "max_error_mv": float(np.abs(error).max()),
        }

    named = [row(str(name), part) for name, part in steps.groupby("recording")]
    return pd.DataFrame([*named, row("overall", steps)])


def event(kind: str, reason: str, step: int, batch: int | None = None, **values: object) -> dict[str, object]:
    """An event as EventLog writes it."""
    epoch = step // STEPS_PER_EPOCH
    return {"kind": kind, "reason": reason, "epoch": epoch, "step": step, "batch": batch, "values": values}


STORY = [
    event("warmup", "warmup finished: learning rate 1e-04", 500, 100),
    *[
        event(
            "skip", f"Epoch 4, Batch {17 + n}: loss is NaN; step skipped", 817 + n, 17 + n, recordings=["urban_n10degC"]
        )
        for n in range(6)
    ],
    event("rollback", "back to step 800 after 6 skips in a row; learning rate x 0.1", 823, 23, attempt=1),
    event("recovery", "200 quiet steps: learning rate at its full size again", 1100, 99),
    event("plateau", "val/rmse_mv no better for 4 epochs: learning rate 1e-04 -> 1e-05", 2799),
    event("stop", "val/rmse_mv did not improve in the last 15 validations; best 14.2 mV", 24 * STEPS_PER_EPOCH),
]


def write_events(run_dir: Path, events: Sequence[dict[str, object]]) -> None:
    """Write ``events.jsonl``."""
    (run_dir / "events.jsonl").write_text("".join(json.dumps(item) + "\n" for item in events))


def write_run(run_dir: Path, epochs: int = 24) -> Path:
    """Write the whole folder of a run that was stopped early after a rollback."""
    (run_dir / ".hydra").mkdir(parents=True)
    (run_dir / ".hydra" / "config.yaml").write_text(CONFIG)
    (run_dir / ".hydra" / "overrides.yaml").write_text("- +preset=safer\n- trainer.max_epochs=50\n")
    metrics_frame(range(epochs)).to_csv(run_dir / "metrics.csv", index=False)
    write_events(run_dir, STORY)
    steps = recordings()
    steps.to_parquet(run_dir / "test_steps.parquet", index=False)
    error_table(steps).to_csv(run_dir / "test_errors.csv", index=False)
    made = {"started": "2026-01-02T03:04:05+00:00", "command": ["train.py", "+preset=safer"], "python": "3.11.7"}
    made |= {"versions": {"torch": "2.13.0", "lightning": "2.6.6"}, "git": {"commit": "0" * 40, "changed": False}}
    (run_dir / "provenance.json").write_text(json.dumps(made))
    (run_dir / "train.log").write_text("03:04:05 training: 40 recordings\n03:11:47 best validation RMSE 14.20 mV\n")
    return run_dir


@pytest.fixture
def run_dir(tmp_path: Path) -> Path:
    """Folder of a run that was stopped early after a rollback, with everything in it."""
    return write_run(tmp_path / "2026-01-02" / "03-04-05")


@pytest.fixture
def events_of() -> Callable[..., None]:
    """Writes the events of a run."""
    return write_events


@pytest.fixture
def metrics_of() -> Callable[..., pd.DataFrame]:
    """Metrics of a range of epochs, in the layout of Lightning's CSV file."""
    return metrics_frame


@pytest.fixture
def make_event() -> Callable[..., dict[str, object]]:
    """Makes an event."""
    return event
