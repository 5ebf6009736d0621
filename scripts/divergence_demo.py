"""Show a divergence that only the learning rate causes, with plain Lightning and with ``preset=resilient``.

    python scripts/divergence_demo.py                     # a few minutes; writes docs/images/divergence_demo.png
    python scripts/divergence_demo.py --lr 1 --picture one.png
    python scripts/divergence_demo.py --data measurements --picture own.png
    python scripts/divergence_demo.py --quick

No fault is injected. Network, data and seed are those of ``preset=safer`` (the debugging guide's Option 1), on the demo
data or your own. Only the learning rate is far too high. The first run has the same LightningModule under a plain
``lightning.Trainer``; the second has the callbacks and clipping of ``preset=resilient``. Both train on every eighth
window in batches of 64 for as many epochs as the preset has, so a run takes a few minutes. The picture needs the extra
``plots``: ``pip install -e '.[plots]'``.
"""

import argparse
import json
import math
import tempfile
import textwrap
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import numpy as np
import torch
from hydra import compose, initialize_config_dir
from lightning.pytorch.callbacks import Callback
from matplotlib.figure import Figure
from matplotlib.ticker import LogFormatter
from omegaconf import DictConfig
from rich.console import Console
from rich.table import Table

from vestim_pl.app.configuration import build
from vestim_pl.app.estimator import build_estimator, reset_global_state
from vestim_pl.app.trainer import build_trainer, quiet_lightning
from vestim_pl.data import VoltageDataModule
from vestim_pl.errors import DivergenceError
from vestim_pl.lightning_support.events import Event
from vestim_pl.lightning_support.learning_rate import LearningRateFactors

ROOT = Path(__file__).resolve().parents[1]
PICTURE = ROOT / "docs" / "images" / "divergence_demo.png"
SHORT = ["sampling.stride=8", "sampling.batch_size=64", "sampling.evaluation_stride=32"]
SMALL = [
    "sampling.lookback=20", "sampling.stride=60", "sampling.evaluation_stride=60", "sampling.batch_size=64",
    "network.hidden_sizes=[8]",
]  # fmt: skip
QUICK = {"safer": SMALL, "resilient": [*SMALL, "callbacks.lookback_warmup.start=10"]}
COLOURS = {"plain Lightning": "#c44e52", "preset=resilient": "#4c72b0"}


@dataclass
class Story:
    """Course of one run.

    Attributes:
        losses: Training loss of every batch.
        rates: Learning rate of every update.
        validations: Batches so far and validation RMSE in mV, after every epoch.
        rollbacks: Batches so far, and the reason of each rollback.
        ended: Message of the error that ended the run; empty if none did.

    """

    losses: list[float] = field(default_factory=list)
    rates: list[float] = field(default_factory=list)
    validations: list[tuple[int, float]] = field(default_factory=list)
    rollbacks: list[tuple[int, str]] = field(default_factory=list)
    ended: str = ""

    @property
    def last_rmse(self) -> float:
        """Validation RMSE in mV after the last epoch."""
        return self.validations[-1][1] if self.validations else math.nan


class Record(Callback):
    """Writes the story; placed first, so that it sees a batch before a rollback does away with it."""

    def __init__(self) -> None:
        self.story = Story()

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        self.story.losses.append(float(outputs["loss"]))
        self.story.rates.append(LearningRateFactors.of(trainer).used(trainer.optimizers[0])[0])

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        rmse = float(trainer.callback_metrics["val/rmse_mv"])
        self.story.validations.append((len(self.story.losses), rmse))

    def on_event(self, trainer: pl.Trainer, event: Event) -> None:
        if event.kind == "rollback":
            self.story.rollbacks.append((len(self.story.losses), event.reason))


def settings(preset: str, options: argparse.Namespace, run_dir: str) -> DictConfig:
    """Configuration of a preset with the learning rate of the demo."""
    overrides = [f"+preset={preset}", f"trainer.max_epochs={options.epochs}", "trainer.accelerator=cpu", *SHORT]
    overrides += ["callbacks.early_stopping=null", f"seed={options.seed}", f"run_dir={run_dir}"]
    if options.data:
        overrides += ["data=folder", f"data.root={options.data}"]
    if options.quick:
        overrides += QUICK[preset]
    with initialize_config_dir(version_base=None, config_dir=str(ROOT / "conf")):
        config = compose("train", overrides=overrides)
    momentum = {"momentum": 0.9} if options.optimizer == "SGD" else {}
    weight_decay = config.optimizer.weight_decay
    config.optimizer = {"name": options.optimizer, "lr": options.lr, "weight_decay": weight_decay, **momentum}
    return config


def run(preset: str, plain: bool, options: argparse.Namespace) -> tuple[Story, VoltageDataModule]:
    """Train once; ``plain`` means a trainer without any of this package's callbacks."""
    record = Record()
    with tempfile.TemporaryDirectory() as folder:
        config = settings(preset, options, folder)
        reset_global_state(config)
        data: VoltageDataModule = build(config.data, sampling=build(config.sampling))
        data.setup("fit")
        estimator = build_estimator(config, data)
        if plain:
            trainer = pl.Trainer(
                max_epochs=options.epochs, callbacks=[record], logger=False, enable_checkpointing=False,
                enable_progress_bar=False, enable_model_summary=False, num_sanity_val_steps=0, accelerator="cpu",
            )  # fmt: skip
        else:
            trainer = build_trainer(config)
            trainer.callbacks.insert(0, record)  # type: ignore[attr-defined]
        try:
            trainer.fit(estimator, datamodule=data)
        except DivergenceError as error:
            record.story.ended = str(error)
    return record.story, data


def rmse_of_the_mean(data: VoltageDataModule) -> float:
    """Validation RMSE in mV of a constant estimate: the mean voltage of the training split."""
    mean = data.table("train").target.double().mean()
    return float((data.table("val").target.double() - mean).square().mean().sqrt()) * 1000


def draw(stories: dict[str, Story], constant: float, title: str, path: Path) -> None:
    """Loss, validation RMSE and learning rate of all runs, one above the other."""
    figure = Figure(figsize=(9, 8), layout="constrained")
    loss, rmse, rate = figure.subplots(3, sharex=True, height_ratios=[3, 3, 2])
    notes = []
    for name, story in stories.items():
        colour, batches = COLOURS[name], np.arange(1, len(story.losses) + 1)
        loss.plot(batches, story.losses, color=colour, alpha=0.25, linewidth=0.6)
        loss.plot(batches, _smooth(story.losses), color=colour, linewidth=1.6, label=name)
        rmse.plot(*zip(*story.validations, strict=True), "o-", color=colour, markersize=4)
        rate.plot(batches, story.rates, color=colour, linewidth=1.6)
        for panel in (loss, rmse, rate):
            for batch, _ in story.rollbacks:
                panel.axvline(batch, color=colour, linestyle=":", linewidth=1)
        finite = [index for index, value in enumerate(story.losses) if math.isfinite(value)]
        if len(finite) < len(story.losses):
            text = f"{name}: NaN from batch {finite[-1] + 2} on"
            place = (finite[-1] + 1, story.losses[finite[-1]])
            loss.annotate(text, place, xytext=(8, 0), textcoords="offset points", color=colour, va="center")
        notes += [f"rollback at batch {batch} ({reason.split(': ', 1)[1]})" for batch, reason in story.rollbacks]
    rmse.axhline(constant, color="0.4", linestyle="--", linewidth=1)
    rmse.annotate(
        "constant estimate of the mean voltage", (1, constant), xycoords=("axes fraction", "data"),
        xytext=(-4, -4), textcoords="offset points", ha="right", va="top", color="0.3", fontsize=9,
    )  # fmt: skip
    for axes, label in ((loss, "training loss"), (rmse, "validation RMSE, mV"), (rate, "learning rate")):
        axes.set_yscale("log")
        axes.set_ylabel(label)
        axes.grid(alpha=0.25)
    for axis in (rmse.yaxis, rate.yaxis):
        axis.set_major_formatter("{x:g}")
    rmse.yaxis.set_minor_formatter(LogFormatter(minor_thresholds=(2, 0.5)))
    loss.legend(loc="upper right", frameon=False)
    loss.set_title(title, fontsize=11)
    rate.set_xlabel("\n".join(["batches", *(textwrap.fill(note, 120) for note in notes)]))
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=100)


def _smooth(losses: Sequence[float], width: int = 15) -> np.ndarray:
    """Running median."""
    values = np.asarray(losses)
    return np.array([np.median(values[max(0, end - width) : end]) for end in range(1, len(values) + 1)])


def print_results(stories: dict[str, Story], constant: float) -> None:
    """Print a table of the runs and the reason of each rollback."""
    table = Table("run", "first loss", "highest loss", "last loss", "last validation RMSE, mV", "best, mV", "rollbacks")
    for name, story in stories.items():
        finite = [rmse for _, rmse in story.validations if math.isfinite(rmse)]
        figures = (story.losses[0], max(story.losses), float(np.median(story.losses[-20:])), story.last_rmse)
        best = f"{min(finite):.1f}" if finite else "none"
        table.add_row(
            name, *(f"{figure:.3g}" for figure in figures[:3]), f"{figures[3]:.1f}", best, str(len(story.rollbacks))
        )
    console = Console()
    console.print(table)
    console.print(f"constant estimate of the mean voltage: {constant:.1f} mV")
    for name, story in stories.items():
        for _, reason in story.rollbacks:
            console.print(f"{name}: {reason}", highlight=False)
        if story.ended:
            console.print(f"{name} ended: {story.ended}", highlight=False)


def main(arguments: Sequence[str] | None = None) -> None:
    """Train both, print the results, draw them, and write the numbers."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lr", type=float, default=10.0, help="learning rate of both runs")
    parser.add_argument("--optimizer", choices=["Adam", "SGD"], default="Adam", help="SGD has momentum 0.9")
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--data", type=Path, help="folder of recordings; the demo data by default")
    parser.add_argument("--picture", type=Path, default=PICTURE)
    parser.add_argument("--json", type=Path, help="file for every number of both runs")
    parser.add_argument("--quick", action="store_true", help="short windows and a small network: seconds")
    options = parser.parse_args(arguments)
    quiet_lightning()
    plain, data = run("safer", True, options)
    resilient, _ = run("resilient", False, options)
    stories = {"plain Lightning": plain, "preset=resilient": resilient}
    constant = rmse_of_the_mean(data)
    print_results(stories, constant)
    what = options.data.name if options.data else "demo data"
    title = f"{options.optimizer} at a learning rate of {options.lr:g}, LSTM of the guide's Option 1, {what}"
    draw(stories, constant, title, options.picture)
    if options.json:
        figures = {name: asdict(story) for name, story in stories.items()}
        options.json.write_text(json.dumps({"mean_voltage_rmse_mv": constant, "runs": figures}))


if __name__ == "__main__":
    torch.set_num_threads(2)
    main()
