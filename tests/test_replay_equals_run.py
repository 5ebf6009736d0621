"""Losses, gradients and update of a replay equal those of the run, whatever influenced them."""

import math
from argparse import Namespace
from pathlib import Path

import pytest
import torch
from lightning.pytorch import Callback, LightningModule
from omegaconf import OmegaConf
from torch import nn
from torch.utils.data import DataLoader

from tests.callbacks.foreign import fit
from vestim_pl.callbacks import AdaptiveGradientClipping, CrashBundle, GradientNoise
from vestim_pl.callbacks.crash_bundle.reading import read_bundle
from vestim_pl.callbacks.crash_bundle.replaying import replay_bundle
from vestim_pl.functional.tensor_range import measure_range
from vestim_pl.lightning_support.step_trace import Phase


class Plain(LightningModule):
    def __init__(self):
        super().__init__()
        self.build()

    def build(self):
        self.net = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Dropout(0.3))
        self.head = nn.Linear(4, 1)

    def forward(self, x):
        return self.head(self.net(x))[:, -1, 0]

    def training_step(self, batch, batch_idx):
        return (self(batch[0]) - batch[1]).square().mean()

    def configure_optimizers(self):
        return torch.optim.AdamW(self.parameters(), lr=0.01)

    def train_dataloader(self):
        generator = torch.Generator().manual_seed(0)
        batches = [[torch.randn(4, 6, 3, generator=generator), torch.randn(4, generator=generator)] for _ in range(5)]
        return DataLoader(batches, batch_size=None)


class Carries(Plain):
    def build(self):
        self.net, self.head, self.state = nn.GRU(3, 4, batch_first=True), nn.Linear(4, 1), None

    def forward(self, x):
        output, state = self.net(x, self.state)
        self.state = state.detach()
        return self.head(output)[:, -1, 0]

    def on_save_checkpoint(self, checkpoint):
        checkpoint["state"] = self.state

    def on_load_checkpoint(self, checkpoint):
        self.state = checkpoint["state"]


class Annealed(Plain):
    def training_step(self, batch, batch_idx):
        done = (self.current_epoch + 1) / (self.trainer.max_epochs + self.trainer.num_training_batches)
        return super().training_step(batch, batch_idx) * (done + self.global_step)


class Frozen(Plain):
    def build(self):
        super().build()
        self.norm, self.mask = nn.BatchNorm1d(4), nn.Parameter(torch.zeros(4))

    def on_fit_start(self):
        self.mask.requires_grad_(False)[0] = -math.inf
        self.norm.requires_grad_(False)

    def on_train_epoch_start(self):
        self.norm.eval()

    def forward(self, x):
        hidden = self.norm(self.net(x)[:, -1])
        return (self.head(hidden) + self.mask.softmax(0).sum())[:, 0]


class Mixed(Plain):
    def build(self):
        super().build()
        self.scale = nn.Parameter(torch.ones(1))
        self.register_buffer("mean", torch.zeros(3))
        self.net = self.net.double()
        self.mean = self.mean.double()

    def on_fit_start(self):
        self.scale.data = self.scale.data.double()  # after __init__

    def forward(self, x):
        return self.head((self.net(x.double() - self.mean) * self.scale).float())[:, -1, 0]


class Configured(Plain):
    def build(self):
        pass

    def configure_model(self):
        if not hasattr(self, "net"):
            super().build()


class SetUp(Plain):
    def build(self):
        pass

    def setup(self, stage):
        assert stage == "fit"
        super().build()


class ClipsItself(Plain):
    def configure_gradient_clipping(self, optimizer, gradient_clip_val=None, gradient_clip_algorithm=None):
        for parameter in self.parameters():
            parameter.grad *= 0.125


class Config(Plain):
    def __init__(self, config):
        super().__init__()
        self.save_hyperparameters(config)
        self.factor = config["factor"]

    def training_step(self, batch, batch_idx):
        return super().training_step(batch, batch_idx) * self.factor


class Namespaced(Plain):
    def __init__(self, config):
        super().__init__()
        self.save_hyperparameters(config)
        self.factor = config.factor * config.sizes[1]

    def training_step(self, batch, batch_idx):
        return super().training_step(batch, batch_idx) * self.factor


class Changed(Plain):
    def __init__(self, factor, sizes, **rest):
        super().__init__()
        self.save_hyperparameters()
        assert rest == {"more": 1}
        self.hparams.factor *= 2

    def on_fit_start(self):
        self.hparams.later = 3

    def training_step(self, batch, batch_idx):
        return super().training_step(batch, batch_idx) * self.hparams.factor * self.hparams.later


class Partly(Plain):
    def __init__(self, factor):
        super().__init__()
        self.save_hyperparameters({"factor": factor, "note": "not an argument of __init__"})
        self.hparams.later, self.names = 3, {"a", "b"}

    def on_save_checkpoint(self, checkpoint):
        checkpoint["names"] = self.names

    def on_load_checkpoint(self, checkpoint):
        self.names = checkpoint["names"]

    def training_step(self, batch, batch_idx):
        return super().training_step(batch, batch_idx) * len(self.names) * self.hparams.later


class Sparse(Plain):
    def build(self):
        super().build()
        self.table = nn.Embedding(9, 1, sparse=True)

    def forward(self, x):
        return self.head(self.net(x))[:, -1, 0] + self.table(x[:, 0, 0].abs().long())[:, 0]

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.01)


class Watch(Callback):
    """Keeps the numbers of the last step, then makes a weight infinite after its update."""

    def __init__(self, at):
        self.at, self.losses, self.seen = at, [], []

    def on_train_batch_start(self, trainer, module, batch, batch_idx):
        if batch_idx % trainer.accumulate_grad_batches == 0:
            self.losses, self.seen = [], []

    def on_before_backward(self, trainer, module, loss):
        self.losses.append(("loss", float(loss.detach()) * trainer.accumulate_grad_batches))

    def on_after_backward(self, trainer, module):
        self.seen = [(n, p.grad.clone()) for n, p in module.named_parameters() if p.grad is not None]

    def on_train_batch_end(self, trainer, module, outputs, batch, batch_idx):
        if (trainer.current_epoch, batch_idx) != self.at:
            return
        self.seen += [(n, p.detach().clone()) for n, p in module.named_parameters() if p.requires_grad]
        module.head.weight.data[0, 0] = math.inf
        trainer.should_stop = True


def numbers(trace, *phases):
    trace.see(Phase.UPDATE, "end", torch.tensor(math.nan))
    history = trace.findings[Phase.UPDATE].history
    return [(f.phase, f.name, f.range.smallest, f.range.largest) for f in history if f.phase in phases and not f.tensor]


CASES = {
    "dropout": (Plain, [], {}),
    "carried state": (Carries, [], {}),
    "accumulated": (Plain, [], {"accumulate_grad_batches": 2}),
    "epoch and step": (Annealed, [], {"max_epochs": 7}),
    "frozen and in evaluation mode": (Frozen, [], {}),
    "dtypes of tensors": (Mixed, [], {}),
    "mixed precision": (Plain, [], {"precision": "bf16-mixed"}),
    "double precision": (Carries, [], {"precision": "64-true"}),
    "half precision": (Plain, [], {"precision": "bf16-true"}),
    "clipped": (Plain, [], {"gradient_clip_val": 0.01}),
    "clipped by value": (Plain, [], {"gradient_clip_val": 0.01, "gradient_clip_algorithm": "value"}),
    "clipped by a callback": (Plain, [AdaptiveGradientClipping(max_norm=0.01)], {}),
    "clipped by the module": (ClipsItself, [], {}),
    "noise": (Plain, [GradientNoise(0.5)], {}),
    "layers of configure_model": (Configured, [], {}),
    "layers of setup": (SetUp, [], {}),
    "sparse gradients": (Sparse, [], {}),
    "dictionary": (lambda: Config({"factor": 5.0}), [], {}),
    "namespace": (lambda: Namespaced(Namespace(factor=5.0, sizes=[1, 2])), [], {}),
    "configuration": (lambda: Namespaced(OmegaConf.create({"factor": 5.0, "sizes": [1, 2]})), [], {}),
    "hyperparameters before and after __init__": (lambda: Changed(5.0, OmegaConf.create([1]), more=1), [], {}),
    "set in the checkpoint": (lambda: Partly(1.0), [], {}),
}


@pytest.mark.parametrize("case", CASES)
def test_numbers_equal_those_of_the_run(case):
    build, callbacks, options = CASES[case]
    epoch = 1 if options.get("max_epochs") else 0
    watch = Watch((epoch, 4))  # the last batch: with two accumulated, a window of its own
    fit(build(), [watch, CrashBundle("bundles"), *callbacks], **options)
    bundle = read_bundle(next(Path("bundles").glob("*.pt")))
    assert bundle["summary"]["cause"] == "update"
    replay = replay_bundle(bundle, trust=True, ring=1000)
    assert (replay.notes, replay.trace.findings) == ([], {})
    found = numbers(replay.trace, Phase.LOSS, Phase.GRADIENT, Phase.UPDATE)
    losses = [largest for phase, _, _, largest in found if phase is Phase.LOSS]
    assert losses == pytest.approx([abs(loss) for _, loss in watch.losses], rel=1e-5)
    count = len(watch.seen) // 2
    own, updated = [[f for f in found if f[0] is phase][:count] for phase in (Phase.GRADIENT, Phase.UPDATE)]
    for (_, name, *size), (expected, tensor) in zip(own + updated, watch.seen, strict=True):
        limits = measure_range(tensor)
        assert name == expected
        assert size == pytest.approx([limits.smallest, limits.largest], rel=1e-4, abs=1e-9)
