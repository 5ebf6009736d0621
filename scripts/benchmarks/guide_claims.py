"""Test what the debugging guide says about divergence, in short trainings with one setting changed.

    python scripts/benchmarks/guide_claims.py --data DIR                     # 4 minutes of one core
    python scripts/benchmarks/guide_claims.py --data DIR --questions clipping --steps 1000
    python scripts/benchmarks/guide_claims.py --quick

Each training is a plain PyTorch loop over the train command's batches of 64 windows: Adam at a constant learning rate,
without guards and recovery, and without warmup unless it is the question. It ends at the first non-finite loss. Figures
are medians over the seeds. *finite* is the number of seeds whose training stayed finite.
"""

import argparse
import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import chain, islice, repeat
from typing import Any

import common
import torch
from lightning.pytorch import seed_everything
from torch import nn
from train_command import compose, data_overrides

from vestim_pl.app.configuration import build
from vestim_pl.app.estimator import build_estimator
from vestim_pl.data import VoltageDataModule

BASE = ("+preset=guide_baseline", "sampling.batch_size=64", "sampling.evaluation_stride=200")


@dataclass(frozen=True)
class Question:
    """Variants of one setting, each tried at each learning rate.

    Attributes:
        variants: Overrides of each variant, by the name in the table.
        rates: Learning rates.
        base: Overrides that all variants have on top of ``guide_baseline``.

    """

    variants: Mapping[str, Sequence[str]]
    rates: Sequence[float]
    base: Sequence[str] = ()


QUESTIONS = {
    "clipping": Question(
        {"0.5": ["trainer.gradient_clip_val=0.5"], "1.0": ["trainer.gradient_clip_val=1.0"],
         "none": ["trainer.gradient_clip_val=null"]},
        (1e-4, 1e-2, 1.0, 10.0),
    ),
    "lookback": Question(
        {str(n): [f"sampling.lookback={n}"] for n in (100, 200, 400)},
        (1e-2, 1.0, 10.0), ["trainer.gradient_clip_val=null"],
    ),
    "hidden sizes": Question(
        {sizes: [f"network.hidden_sizes={sizes}"] for sizes in ("[10]", "[32]", "[16,16]")},
        (1e-2, 1.0, 10.0), ["sampling.lookback=200"],
    ),
    "weight decay": Question(
        {value: [f"optimizer.weight_decay={value}"] for value in ("0.0", "1e-4", "5e-4")}, (1e-2,),
        ["sampling.lookback=100"],
    ),
    "layer norm": Question(
        {value: [f"network.layer_norm={value}"] for value in ("false", "true")}, (1e-2, 1.0),
        ["sampling.lookback=200", "network.hidden_sizes=[32]"],
    ),
    "dropout": Question(
        {value: [f"network.dropout={value}"] for value in ("0.0", "0.2", "0.4")}, (1e-2,),
        ["sampling.lookback=200", "network.hidden_sizes=[32]"],
    ),
    "warmup": Question(
        {"0": [], "100": ["callbacks=[default,warmup]", "callbacks.warmup.duration=100"]}, (1e-1, 1.0),
        ["sampling.lookback=200", "network.hidden_sizes=[32]"],
    ),
}  # fmt: skip


@dataclass
class Outcome:
    """Result of one training.

    Attributes:
        norms: Gradient norm of each step before clipping.
        losses: Loss of each step, in scaled units.
        clipped: Steps whose gradient was above the threshold.
        weights: Norm of all weights before and after.
        validation_mv: RMSE in mV of the validation windows after the last step; NaN of a training that diverged.

    """

    norms: list[float]
    losses: list[float]
    clipped: int
    weights: tuple[float, float]
    validation_mv: float

    @property
    def finite(self) -> bool:
        return all(map(math.isfinite, self.losses)) and math.isfinite(self.weights[1])


@cache
def recordings(data: str | None, sampling: tuple[str, ...]) -> VoltageDataModule:
    """Return the data module for the overrides that affect it; recordings are read once."""
    config = compose([*BASE, *sampling, *data_overrides(data)], "run")
    datamodule: VoltageDataModule = build(config.data, sampling=build(config.sampling))
    datamodule.setup("fit")
    return datamodule


def train(data: str | None, overrides: Sequence[str], rate: float, seed: int, steps: int) -> Outcome:
    """Train for some steps and score the validation windows.

    Args:
        data: Folder of recordings; None for the demo data.
        overrides: On top of `BASE`.
        rate: Learning rate.
        seed: Of initialisation, dropout and the order of the windows.
        steps: Optimizer steps.

    """
    config = compose([*BASE, *overrides, f"optimizer.lr={rate}", *data_overrides(data)], "run")
    datamodule = recordings(data, tuple(o for o in overrides if o.startswith("sampling.")))
    seed_everything(seed, verbose=False)
    estimator = build_estimator(config, datamodule)
    optimizer = torch.optim.Adam(estimator.parameters(), lr=rate, weight_decay=config.optimizer.weight_decay)
    limit = config.trainer.gradient_clip_val or math.inf
    ramp = config.callbacks.warmup.duration if "warmup" in config.callbacks else 1
    loader = datamodule.train_dataloader()
    loader.sampler.set_epoch(seed)
    weights = [weight_norm(estimator)]
    outcome = Outcome([], [], 0, (0.0, 0.0), math.nan)
    for step, batch in enumerate(islice(chain.from_iterable(repeat(loader)), steps)):
        for group in optimizer.param_groups:
            group["lr"] = rate * min(1.0, (step + 1) / ramp)
        volts = estimator(batch.inputs)[0][:, -1]
        loss = ((volts - batch.target[:, -1]) / estimator.scaler.target_std).square().mean()
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        norm = float(nn.utils.clip_grad_norm_(estimator.parameters(), limit))
        optimizer.step()
        outcome.norms.append(norm)
        outcome.losses.append(float(loss.detach()))
        outcome.clipped += norm > limit
        if not math.isfinite(outcome.losses[-1]):
            break
    outcome.weights = (weights[0], weight_norm(estimator))
    if outcome.finite:
        outcome.validation_mv = validation_rmse_mv(estimator, datamodule)
    return outcome


def weight_norm(module: nn.Module) -> float:
    """Return the L2 norm of all weights."""
    return float(nn.utils.get_total_norm([parameter.detach() for parameter in module.parameters()]))


@torch.no_grad()
def validation_rmse_mv(estimator: Any, datamodule: VoltageDataModule) -> float:
    """Return the RMSE in mV of every 200th validation window."""
    estimator.eval()
    errors = [estimator(b.inputs)[0][:, -1] - b.target[:, -1] for b in datamodule.evaluation_dataloader("val")]
    return 1e3 * float(torch.cat(errors).square().mean().sqrt())


def row(name: str, variant: str, rate: float, outcomes: Sequence[Outcome]) -> dict[str, Any]:
    """Return a row of the table: medians over the seeds, and the largest norm of all."""
    steps = sum(len(outcome.losses) for outcome in outcomes)
    alive = [outcome for outcome in outcomes if outcome.finite]
    median = statistics.median
    return {
        "question": name,
        "variant": variant,
        "rate": f"{rate:g}",
        "finite": f"{len(alive)} of {len(outcomes)}",
        "median norm": median(chain.from_iterable(outcome.norms for outcome in outcomes)),
        "largest norm": f"{max(chain.from_iterable(outcome.norms for outcome in outcomes)):.3g}",
        "clipped [%]": 100 * sum(outcome.clipped for outcome in outcomes) / steps,
        "weights, start": median(outcome.weights[0] for outcome in outcomes),
        "weights, end": median(outcome.weights[1] for outcome in outcomes),
        "validation [mV]": median(outcome.validation_mv for outcome in alive) if alive else math.nan,
        "worst seed [mV]": max(outcome.validation_mv for outcome in alive) if alive else math.nan,
    }


def main(arguments: Sequence[str] | None = None) -> None:
    """Run all questions and print the table."""
    parser = common.arguments("What the guide says about divergence", "guide_claims", rounds=None)
    parser.add_argument("--data", help="folder of recordings, LG HG2 for the figures; the demo data by default")
    parser.add_argument("--questions", nargs="+", choices=list(QUESTIONS), default=list(QUESTIONS))
    parser.add_argument("--steps", type=int, default=150, help="optimizer steps of a training")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1], help="one training each")
    parser.add_argument("--quick", action="store_true", help="few steps on short windows, to see that it works")
    options: argparse.Namespace = parser.parse_args(arguments)
    torch.set_num_threads(options.threads)
    torch.set_flush_denormal(True)
    shorter = ["sampling.lookback=20", "sampling.stride=50"] if options.quick else []
    steps, seeds = (2, [0]) if options.quick else (options.steps, options.seeds)
    rows = []
    for name in options.questions:
        question = QUESTIONS[name]
        for rate in question.rates:
            for variant, overrides in question.variants.items():
                overrides = [*question.base, *overrides, *shorter]
                outcomes = [train(options.data, overrides, rate, seed, steps) for seed in seeds]
                rows.append(row(name, variant, rate, outcomes))
                print("  ", *rows[-1].values(), flush=True)
    settings = {"data": options.data or "demo", "steps": steps, "seeds": seeds, "quick": options.quick}
    common.report(f"One setting changed, {steps} steps", rows, options.json, settings)


if __name__ == "__main__":
    main()
