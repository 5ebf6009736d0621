import pytest
import torch
from lightning.pytorch import Callback
from lightning.pytorch.callbacks import ModelCheckpoint
from torch.optim import lr_scheduler

from vestim_pl.callbacks import LearningRateWarmup, PlateauLearningRate
from vestim_pl.errors import ConfigurationError
from vestim_pl.lightning_support.events import publish
from vestim_pl.lightning_support.learning_rate import LearningRateFactors

NAN = float("nan")
SCORES = [3.0, 2.0, 2.0, 2.5, 1.0, 1.0, 1.2, 1.1, 1.0, 0.9]


class Epochs(Callback):
    """Effective rate at the start of every epoch, and the events."""

    def __init__(self):
        self.rates, self.events = [], []

    def on_train_epoch_start(self, trainer, pl_module):
        self.rates.append(LearningRateFactors.of(trainer).effective(trainer.optimizers[0])[0])

    def on_event(self, trainer, event):
        self.events.append(event)


def scored(foreign, scores=SCORES, on="validation", **options):
    """Module whose metric ``score`` follows the given series, one value an epoch."""

    class Scored(foreign.Module):
        def on_validation_epoch_end(self):
            if on == "validation":
                value = 0.0 if self.trainer.sanity_checking else scores[self.current_epoch]
                self.log("score", value)

        def training_step(self, batch, batch_idx):
            if on == "train":
                self.log("score", scores[self.current_epoch], on_step=False, on_epoch=True)
            return super().training_step(batch, batch_idx)

    torch.manual_seed(5)
    return Scored(**options)


@pytest.mark.parametrize("mode", ["min", "max"])
@pytest.mark.parametrize("on", ["validation", "train"])
@pytest.mark.parametrize(("patience", "cooldown"), [(0, 0), (1, 1), (0, 2)])
def test_cuts_as_torch_does(mode, on, patience, cooldown, foreign, fit):
    reference = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.05)
    scheduler = torch.optim.lr_scheduler.ReduceLROnPlateau(
        reference, mode, factor=0.5, patience=patience, cooldown=cooldown, min_lr=0.002
    )
    expected = []
    for score in SCORES:
        expected.append(reference.param_groups[0]["lr"])
        scheduler.step(score)
    epochs = Epochs()
    plateau = PlateauLearningRate("score", mode, factor=0.5, patience=patience, cooldown=cooldown, min_lr=0.002)
    options = {"limit_val_batches": 0} if on == "train" else {}
    fit(scored(foreign, on=on), [plateau, epochs], max_epochs=10, **options)

    assert epochs.rates == pytest.approx(expected)
    assert plateau.scheduler.best == pytest.approx(scheduler.best)


def test_reports_every_cut_with_the_new_rate(foreign, fit):
    epochs = Epochs()
    fit(scored(foreign), [PlateauLearningRate("score", factor=0.5, patience=0), epochs], max_epochs=4)
    cuts = [(event.kind, event.epoch, event.values["learning_rate"]) for event in epochs.events]
    assert cuts == [("plateau", 2, 0.025), ("plateau", 3, 0.0125)]
    assert epochs.events[0].reason == (
        "epoch 2: score is 2 and has not improved on 2 in 1 evaluations; learning rate cut to 0.025"
    )


def test_a_rollback_restarts_patience(foreign, fit):
    class RollsBack(Callback):
        def on_train_epoch_start(self, trainer, pl_module):
            if trainer.current_epoch == 3:
                publish(trainer, "rollback", "back to the best")

    epochs = Epochs()
    plateau = PlateauLearningRate("score", factor=0.5, patience=2)
    fit(scored(foreign, [1.0, 2.0, 2.0, 2.0, 2.0, 2.0]), [RollsBack(), plateau, epochs], max_epochs=6)
    assert [event.epoch for event in epochs.events if event.kind == "plateau"] == [5]
    assert plateau.scheduler.best == 1.0


def test_a_second_owner_of_the_same_plateau_is_refused(foreign, fit):
    def plateau_of(monitor):
        return lambda o: {"scheduler": lr_scheduler.ReduceLROnPlateau(o), "monitor": monitor}

    with pytest.raises(ConfigurationError, match="both would cut for the same plateau"):
        fit(foreign.Module(scheduler=plateau_of("val_loss")), [PlateauLearningRate("val_loss")])
    fit(scored(foreign, scheduler=plateau_of("val_loss")), [PlateauLearningRate("score")])


def test_the_floor_is_reported_once(foreign, fit):
    epochs = Epochs()
    plateau = PlateauLearningRate("score", factor=0.1, patience=0, min_lr=0.04)
    fit(scored(foreign, [1.0] * 6), [plateau, epochs], max_epochs=6)
    assert epochs.rates == pytest.approx([0.05, 0.05, 0.04, 0.04, 0.04, 0.04])
    assert [("floor" in event.reason, event.epoch) for event in epochs.events] == [(False, 1), (True, 2)]


@pytest.mark.parametrize("bad", [NAN, float("inf"), -float("inf")])
@pytest.mark.parametrize("mode", ["min", "max"])
def test_a_non_finite_metric_is_only_an_event(bad, mode, foreign, fit):
    epochs, plateau = Epochs(), PlateauLearningRate("score", mode, patience=1)
    fit(scored(foreign, [1.0, bad, bad, bad, 1.0]), [plateau, epochs], max_epochs=5)
    assert epochs.rates == [0.05] * 5
    assert plateau.scheduler.best == 1.0
    assert plateau.scheduler.num_bad_epochs == 1
    assert [(event.kind, event.epoch) for event in epochs.events] == [("non_finite", 1)], "once for a series"


def test_a_second_series_of_non_finite_values_is_reported_again(foreign, fit):
    epochs = Epochs()
    fit(scored(foreign, [NAN, NAN, 1.0, NAN, NAN]), [PlateauLearningRate("score"), epochs], max_epochs=5)
    assert [event.epoch for event in epochs.events] == [0, 3]


def test_the_sanity_check_does_not_count(foreign, fit):
    plateau = PlateauLearningRate("score")
    fit(scored(foreign), [plateau], max_epochs=1, num_sanity_val_steps=2)
    assert plateau.scheduler.best == 3.0, "the sanity check logs 0"


@pytest.mark.parametrize("start_after_warmup", [True, False])
def test_waits_for_the_warmup(start_after_warmup, foreign, fit):
    plateau = PlateauLearningRate("score", patience=0, start_after_warmup=start_after_warmup)
    fit(scored(foreign, [1.0] * 4), [plateau, LearningRateWarmup(3, unit="epochs")], max_epochs=4)
    assert plateau.cuts == (2 if start_after_warmup else 3)


def test_a_missing_metric_is_refused_with_the_logged_ones(foreign, fit):
    with pytest.raises(ConfigurationError, match="'val_los' is not logged; choose one of learning_rate, val_loss"):
        fit(foreign.Module(), [PlateauLearningRate("val_los")])


@pytest.mark.parametrize("at_train_epoch_end", [True, False])
@pytest.mark.parametrize("on", ["validation", "train"])
@pytest.mark.parametrize("stop", [1, 3, 5])
def test_a_resumed_run_equals_an_uninterrupted_one(at_train_epoch_end, on, stop, foreign, fit, tmp_path):
    def callbacks(epochs):
        return [PlateauLearningRate("score", factor=0.5, patience=1), epochs]

    options = {"max_epochs": 8} | ({"limit_val_batches": 0} if on == "train" else {})
    whole, plain = scored(foreign, on=on), Epochs()
    checkpoints = ModelCheckpoint(
        tmp_path, "{epoch}", save_top_k=-1, save_on_train_epoch_end=at_train_epoch_end if on == "validation" else None
    )
    fit(whole, [*callbacks(plain), checkpoints], **options)
    resumed, rest = scored(foreign, on=on), Epochs()
    fit(resumed, callbacks(rest), resume=tmp_path / f"epoch={stop}.ckpt", seed=77, **options)

    assert len(set(plain.rates)) == 3, "the run has to have a cut before and after the stops"
    assert rest.rates == plain.rates[stop + 1 :]
    assert foreign.same_weights(whole, resumed)
    assert plain.events[-len(rest.events) :] == rest.events


def test_a_checkpoint_before_the_decision_resumes_without_the_metric(foreign, fit, tmp_path):
    checkpoints = ModelCheckpoint(tmp_path, "{epoch}", save_top_k=-1, save_on_train_epoch_end=False)
    options = {"patience": 0, "check_on_train_epoch_end": True}
    fit(scored(foreign), [PlateauLearningRate("score", **options), checkpoints], max_epochs=4)
    plateau = PlateauLearningRate("score", **options)
    fit(scored(foreign), [plateau], max_epochs=4, resume=tmp_path / "epoch=2.ckpt")
    assert plateau.cuts == 1


def test_a_stop_by_max_epochs_resumes_as_well(foreign, fit, tmp_path):
    whole, plain = scored(foreign), Epochs()
    fit(whole, [PlateauLearningRate("score", patience=0), plain], max_epochs=6)
    first = fit(scored(foreign), [PlateauLearningRate("score", patience=0)], max_epochs=3)
    first.save_checkpoint(tmp_path / "last.ckpt")
    resumed, rest = scored(foreign), Epochs()
    fit(resumed, [PlateauLearningRate("score", patience=0), rest], max_epochs=6, resume=tmp_path / "last.ckpt")
    assert rest.rates == plain.rates[3:]
    assert foreign.same_weights(whole, resumed)


def test_a_checkpoint_holds_plain_values_and_one_without_them_loads(foreign, fit, tmp_path):
    plateau = PlateauLearningRate("score", patience=0)
    trainer = fit(scored(foreign), [plateau], max_epochs=4)
    trainer.save_checkpoint(tmp_path / "with.ckpt")
    saved = torch.load(tmp_path / "with.ckpt", weights_only=True)
    assert saved["callbacks"][plateau.state_key]["scale"] == pytest.approx(0.01)
    assert saved["optimizer_states"][0]["param_groups"][0]["lr"] == 0.05
    other = PlateauLearningRate("score")
    other.load_state_dict({})
    assert (other.scale, other.scheduler.best) == (1.0, float("inf"))


def test_validation_within_the_epoch_counts_each_time(foreign, fit):
    plateau = PlateauLearningRate("score", patience=0)
    fit(scored(foreign, [1.0, 1.0]), [plateau], max_epochs=2, val_check_interval=2)
    assert plateau.cuts == 3


def test_two_optimizers_fast_dev_run_and_a_validation_alone(foreign, fit):
    plateau = PlateauLearningRate("val_loss", patience=0, threshold=10.0, threshold_mode="abs")
    trainer = fit(foreign.TwoOptimizers(), [plateau])
    assert plateau.cuts == 1
    trainer.validate(foreign.Module(), foreign.loader(), verbose=False)
    assert plateau.cuts == 1
    fit(foreign.Module(), [PlateauLearningRate("nowhere")], fast_dev_run=True)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"mode": "low"}, "mode: 'low' is unknown"),
        ({"factor": 1.0}, "factor: 1.0 must lie between 0 and 1"),
        ({"patience": -1}, "PlateauLearningRate.patience: -1 is too small"),
        ({"threshold_mode": "relative"}, "threshold_mode: 'relative' is unknown"),
        ({"min_lr": NAN}, "min_lr nan must be finite"),
    ],
)
def test_bad_argument_is_refused(options, message):
    with pytest.raises(ConfigurationError, match=message):
        PlateauLearningRate("val_loss", **options)


class RankedScore(Callback):
    """A metric that differs between the ranks, as one logged without ``sync_dist``; notes each rank's state."""

    def __init__(self, folder):
        self.folder = folder

    def on_validation_epoch_end(self, trainer, pl_module):
        pl_module.log("score", 1.0 if trainer.global_rank == 0 else 1.0 - 0.1 * trainer.current_epoch)

    def on_train_end(self, trainer, pl_module):
        plateau = next(c for c in trainer.callbacks if isinstance(c, PlateauLearningRate))
        torch.save(plateau.state_dict(), self.folder / f"{trainer.global_rank}.pt")


@pytest.mark.slow
def test_all_ranks_cut_alike(foreign, fit, tmp_path):
    callbacks = [RankedScore(tmp_path), PlateauLearningRate("score", patience=0, threshold=0.2, threshold_mode="abs")]
    fit(foreign.Module(), callbacks, max_epochs=4, strategy="ddp_spawn", devices=2)
    states = [torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in (0, 1)]
    assert states[0] == states[1]
    assert states[0]["best"] == pytest.approx(1.0)
    assert states[0]["cuts"] == 3
