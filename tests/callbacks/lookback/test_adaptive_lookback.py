import math

import pytest
import torch
from lightning.pytorch import Callback, LightningModule
from lightning.pytorch.loggers import CSVLogger
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from tests.callbacks.foreign import Recorder, fit
from vestim_pl.callbacks import AdaptiveLookback, GradientFlowProbe, LookbackWarmup
from vestim_pl.callbacks.lookback.lookback_reach import gradient_of_step, relative_difference
from vestim_pl.errors import ConfigurationError
from vestim_pl.functional.sequence_batch import SequenceBatch
from vestim_pl.lightning_support.events import publish

FULL, BATCHES = 100, 10


def windows(seed=0):
    x = torch.randn(BATCHES * 16, FULL, 2, generator=torch.Generator().manual_seed(seed))
    return x, (0.5 ** torch.arange(FULL).flip(0) * x[:, :, 0]).sum(1)


class Decaying(LightningModule):
    """Estimates a sum of the inputs weighted by ``decay`` to the power of the lag, so its memory is known."""

    def __init__(self, decay=0.5, dropout=0.0):
        super().__init__()
        self.decay, self.gain, self.dropout = decay, nn.Parameter(torch.ones(2)), nn.Dropout(dropout)
        self.losses, self.lengths, self.val_lengths = [], [], []

    def loss(self, batch):
        x, y = batch
        weights = self.decay ** torch.arange(x.shape[1], dtype=torch.float32).flip(0)
        return (((self.dropout(x) * self.gain).sum(-1) * weights).sum(1) - y).square().mean()

    def training_step(self, batch, batch_idx):
        loss = self.loss(batch)
        self.losses.append(loss.item())
        self.lengths.append(batch[0].shape[1])
        return loss

    def validation_step(self, batch, batch_idx):
        self.val_lengths.append(batch[0].shape[1])

    def configure_optimizers(self):
        return torch.optim.Adam(self.parameters(), lr=0.01)

    def train_dataloader(self):
        return DataLoader(TensorDataset(*windows()), batch_size=16)

    val_dataloader = train_dataloader


class Recurrent(Decaying):
    def __init__(self, forget_bias=0.0):
        super().__init__()
        self.lstm, self.head = nn.LSTM(2, 6, batch_first=True), nn.Linear(6, 1)
        with torch.no_grad():
            self.lstm.bias_hh_l0[6:12] = forget_bias

    def loss(self, batch):
        return (self.head(self.lstm(batch[0])[0][:, -1]).squeeze(-1) - batch[1]).square().mean()

    def configure_optimizers(self):
        return torch.optim.Adam([*self.lstm.parameters(), *self.head.parameters()], lr=0.003)


class EveryStep(Recurrent):
    def loss(self, batch):
        return (self.head(self.lstm(batch[0])[0]).squeeze(-1) - batch[1][:, None]).square().mean()


class Ours(Decaying):
    """Trains on `SequenceBatch`es whose lanes continue in the second batch."""

    def train_dataloader(self):
        x, y = windows()
        first = SequenceBatch.of(x[:16], y[:16, None].expand(-1, FULL))
        return DataLoader([first, first._replace(fresh=torch.zeros(16, dtype=torch.bool))], batch_size=None)

    def loss(self, batch):
        return super().loss((batch.inputs, batch.target[:, -1]))

    def training_step(self, batch, batch_idx):
        return self.loss(batch)


class Each(Callback):
    """Calls a function before every batch."""

    def __init__(self, function):
        self.function = function

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        self.function(trainer, pl_module)


def last_steps(batch, length):
    return [batch[0][:, -length:], batch[1]]


def adaptive(**options):
    return AdaptiveLookback(**({"full": FULL, "multiple": 4, "crop": last_steps} | options))


def run(*callbacks, module=None, epochs=3, **options):
    torch.manual_seed(0)
    module = module() if module else Decaying()
    trainer = fit(module, list(callbacks), max_epochs=epochs, **options)
    return module, trainer


@pytest.mark.parametrize("tolerance", [1e-6, 1e-3])
def test_known_memory_is_found(tolerance):
    callback = adaptive(tolerance=tolerance)
    module, _ = run(callback)
    expected = math.log(tolerance) / math.log(0.5)
    needed = callback.state_dict()["needed"][-1]
    assert expected - 4 <= needed <= expected + 8
    assert callback.lookback > needed
    assert set(module.lengths) == {callback.lookback}, "the first batch too"


@pytest.mark.parametrize(
    "module", [lambda: Decaying(0.99), lambda: Recurrent(forget_bias=6.0), EveryStep], ids=["slow", "chrono", "all"]
)
def test_nothing_is_cut_where_all_steps_matter(module):
    callback = adaptive()
    module, _ = run(callback, module=module)
    assert set(module.lengths) == {FULL}


def test_loss_curve_is_that_of_whole_windows():
    callback = adaptive()
    cut, _ = run(callback, module=Recurrent)
    whole, _ = run(module=Recurrent)
    assert max(cut.lengths) < FULL == max(whole.lengths)
    assert torch.allclose(torch.tensor(cut.losses), torch.tensor(whole.losses), rtol=1e-5, atol=0)


def test_only_training_is_cut():
    module, _ = run(adaptive(), limit_val_batches=1)
    assert set(module.val_lengths) == {FULL}
    assert "on_before_batch_transfer" not in vars(module)


def test_window_grows_with_the_memory_before_harm_is_done():
    callback, seen = adaptive(), []

    def learn(trainer, module):
        with torch.no_grad():
            whole, cut = (
                gradient_of_step(module, callback.crop(next(iter(module.train_dataloader())), length), 0)
                for length in (FULL, callback.lookback)
            )
        seen.append((callback.lookback, relative_difference(cut, whole)))
        module.decay = 0.5 + 0.0025 * trainer.global_step

    run(callback, Each(learn), epochs=7)
    lengths, errors = zip(*seen, strict=True)
    assert lengths[0] < 32 < lengths[-1] < FULL
    assert max(errors) < 3 * callback.tolerance


def test_window_becomes_whole_when_no_cut_suffices():
    callback = adaptive()

    def remember(trainer, module):
        module.decay = 0.5 if trainer.global_step < 10 else 0.98

    module, _ = run(callback, Each(remember), epochs=4)
    assert module.lengths[0] < FULL
    assert module.lengths[-1] == FULL


def test_measuring_leaves_no_trace():
    class Noisy(Decaying):
        def loss(self, batch):
            return super().loss(batch) * (1 + 0.1 * torch.rand(()))

    options = {"module": lambda: Noisy(0.99, dropout=0.3)}
    measured, _ = run(adaptive(), **options)
    alone, _ = run(**options)
    assert measured.losses == alone.losses
    assert measured.lengths.count(FULL) == len(alone.lengths)


def test_dropout_does_not_hide_what_can_be_cut():
    module, _ = run(adaptive(), module=lambda: Decaying(0.5, dropout=0.3))
    assert max(module.lengths) < 40


def test_interval_doubles_while_the_window_suffices():
    steps = []

    class Counting(AdaptiveLookback):
        def _measure(self, trainer, *args):
            steps.append(trainer.global_step)
            super()._measure(trainer, *args)

    run(
        Counting(FULL, multiple=4, crop=last_steps, every_n_steps=2, at_most_every_n_steps=9),
        epochs=35,
        limit_train_batches=1,
    )
    assert steps == [0, 2, 6, 14, 23, 32]


def test_accumulated_batches_are_of_one_length():
    lengths = {}

    def note(trainer, module):
        lengths.setdefault(trainer.global_step, set()).add(callback.lookback)

    callback = adaptive(every_n_steps=1)
    run(callback, Each(note), accumulate_grad_batches=2)
    assert {len(found) for found in lengths.values()} == {1}


def test_batch_without_a_finite_gradient_is_ignored():
    class NonFiniteOnce(Decaying):
        def loss(self, batch):
            return super().loss(batch) + (math.nan if not self.losses else 0.0)

    callback = adaptive()
    module, _ = run(callback, module=NonFiniteOnce)
    assert module.lengths[0] == FULL
    assert callback.lookback < FULL


def test_rollback_asks_for_a_new_measurement():
    callback = adaptive(every_n_steps=500)
    run(callback, Each(lambda trainer, _: trainer.global_step == 5 and publish(trainer, "rollback", "back")))
    assert callback.state_dict()["next_step"] == 6 + 500


def test_each_change_is_reported_with_its_evidence(tmp_path):
    recorder = Recorder()
    callback = adaptive()
    run(callback, recorder, logger=CSVLogger(tmp_path, name=None, version=""))
    [event] = recorder.of("lookback")
    assert (event.values["lookback"], event.values["before"]) == (callback.lookback, FULL)
    assert event.values["errors"][str(callback.state_dict()["needed"][0])] <= callback.tolerance
    assert "adaptive_lookback/steps" in (tmp_path / "metrics.csv").read_text()


def test_state_of_another_window_is_ignored():
    callback = adaptive(every_n_steps=500)
    callback.load_state_dict({"full": 50, "lookback": 8, "needed": [4], "next_step": 99, "interval": 40})
    module, _ = run(callback)
    assert callback.state_dict()["next_step"] == 500, "measured before the first step"
    assert module.lengths[0] > 8


@pytest.mark.parametrize("warmup_first", [True, False])
def test_with_a_warmup_the_shorter_window_applies(warmup_first):
    warmup, callback = LookbackWarmup(8, FULL, epochs=2, crop=last_steps), adaptive()
    pair = [warmup, callback] if warmup_first else [callback, warmup]
    module, _ = run(*pair)
    assert module.lengths[:BATCHES] == [8] * BATCHES
    assert module.lengths[-1] == callback.lookback < 40
    assert "on_before_batch_transfer" not in vars(module)


def test_gradient_flow_is_that_of_whole_windows(tmp_path):
    probe = GradientFlowProbe([0], folder=str(tmp_path))
    module, _ = run(adaptive(), probe, module=Recurrent)
    assert max(module.lengths) < FULL
    assert len(probe.flows[0].hidden_norms) == FULL


def test_streams_are_refused():
    with pytest.raises(ConfigurationError, match=r"AdaptiveLookback: .*fresh is false"):
        run(AdaptiveLookback(FULL), module=Ours)


def test_unknown_batches_are_refused():
    with pytest.raises(ConfigurationError, match=r"AdaptiveLookback: .*pass crop="):
        run(AdaptiveLookback(FULL))


@pytest.mark.parametrize(
    "options",
    [
        {"full": 0},
        {"tolerance": 0.0},
        {"every_n_steps": 0},
        {"at_most_every_n_steps": 5},
        {"windows": 0},
        {"multiple": 0},
    ],
)
def test_bad_argument_is_refused(options):
    with pytest.raises(ConfigurationError, match=next(iter(options))):
        adaptive(**options)
