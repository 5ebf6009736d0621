# ruff: noqa: NPY002 - the global generator is what is tested
import random

import numpy as np
import pytest
import torch
from lightning.pytorch import Callback
from lightning.pytorch.callbacks import ModelCheckpoint

from vestim_pl.callbacks import RandomStateCheckpoint


def noisy(foreign):
    """Draws from torch (dropout), Python and numpy, so that one seed does not make a run repeatable."""
    torch.manual_seed(5)
    return foreign.Module(
        dropout=0.5, loss_hook=lambda module, loss, i: loss * (1 + random.random()) * (1 + np.random.rand())
    )


def shuffled(foreign):
    return foreign.loader(shuffle=True)


def run(fit, foreign, callbacks, loader, **options):
    random.seed(options.get("seed", 0))
    np.random.seed(options.get("seed", 0))
    module = noisy(foreign)
    trainer = fit(module, [RandomStateCheckpoint(), *callbacks], train=loader, **({"max_epochs": 4} | options))
    return module, trainer


@pytest.mark.parametrize("sanity", [0, 2])
@pytest.mark.parametrize("validation", [True, False])
@pytest.mark.parametrize("at_train_epoch_end", [True, False])
@pytest.mark.parametrize("stop", [0, 2])
def test_resuming_from_the_end_of_an_epoch_is_exact(
    sanity, validation, at_train_epoch_end, stop, foreign, fit, tmp_path
):
    options = {"num_sanity_val_steps": sanity, "limit_val_batches": 1.0 if validation else 0}
    checkpoints = ModelCheckpoint(
        tmp_path, "{epoch}", save_top_k=-1, save_on_train_epoch_end=at_train_epoch_end or not validation
    )
    whole, _ = run(fit, foreign, [checkpoints], shuffled(foreign), **options)
    path = tmp_path / f"epoch={stop}.ckpt"
    resumed, _ = run(fit, foreign, [], shuffled(foreign), resume=path, seed=99, **options)

    assert foreign.same_weights(whole, resumed)
    torch.load(path, weights_only=True)


@pytest.mark.parametrize("every", [3, 7])
@pytest.mark.parametrize("accumulate", [1, 2])
def test_resuming_within_an_epoch_is_exact_with_a_stateful_loader(every, accumulate, foreign, fit, tmp_path):
    class At(Callback):
        def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
            if trainer.current_epoch * 5 + batch_idx + 1 == (every if accumulate == 1 else every // 5 * 5 + 2):
                trainer.save_checkpoint(tmp_path / "mid.ckpt")

    options = {"accumulate_grad_batches": accumulate}
    whole, _ = run(fit, foreign, [At()], foreign.StatefulLoader(), **options)
    resumed, _ = run(fit, foreign, [], foreign.StatefulLoader(), resume=tmp_path / "mid.ckpt", seed=99, **options)
    assert foreign.same_weights(whole, resumed)


@pytest.mark.parametrize("stop", [3, 7])
def test_a_plain_loader_restarts_the_data_of_the_epoch_in_the_same_order(stop, foreign, fit, tmp_path):
    class Order(Callback):
        def __init__(self):
            self.seen = []

        def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
            if trainer.current_epoch == stop // 5:
                self.seen.append(batch[1].tolist())

    whole, resumed = Order(), Order()
    checkpoints = ModelCheckpoint(tmp_path, "{step}", save_top_k=-1, every_n_train_steps=stop)
    run(fit, foreign, [whole, checkpoints], shuffled(foreign))
    run(fit, foreign, [resumed], shuffled(foreign), resume=tmp_path / f"step={stop}.ckpt", seed=9)
    assert resumed.seen == whole.seen[: len(resumed.seen)] != []


@pytest.mark.parametrize("stop", [0, 2])
def test_resuming_is_exact_although_the_module_seeds_again_in_on_fit_start(stop, foreign, fit, tmp_path):
    class Seeds(foreign.Module):
        def on_fit_start(self):
            torch.manual_seed(1)

    def train(callbacks, **options):
        module = Seeds(dropout=0.5)
        fit(module, [RandomStateCheckpoint(), *callbacks], train=shuffled(foreign), max_epochs=4, **options)
        return module

    whole = train([ModelCheckpoint(tmp_path, "{epoch}", save_top_k=-1)])
    assert foreign.same_weights(whole, train([], resume=tmp_path / f"epoch={stop}.ckpt"))


def test_resuming_twice_is_exact(foreign, fit, tmp_path):
    checkpoints = ModelCheckpoint(tmp_path, "{epoch}", save_top_k=-1)
    whole, _ = run(fit, foreign, [], shuffled(foreign))
    run(fit, foreign, [checkpoints], shuffled(foreign), max_epochs=2)
    run(fit, foreign, [checkpoints], shuffled(foreign), resume=tmp_path / "epoch=0.ckpt", max_epochs=3, seed=8)
    resumed, _ = run(fit, foreign, [], shuffled(foreign), resume=tmp_path / "epoch=2.ckpt", seed=9)
    assert foreign.same_weights(whole, resumed)


def test_a_checkpoint_of_a_finished_fit_resumes_like_an_uninterrupted_run(foreign, fit, tmp_path):
    whole, _ = run(fit, foreign, [], shuffled(foreign))
    _, first = run(fit, foreign, [], shuffled(foreign), max_epochs=2)
    first.save_checkpoint(tmp_path / "end.ckpt")
    resumed, _ = run(fit, foreign, [], shuffled(foreign), resume=tmp_path / "end.ckpt", seed=9)
    assert foreign.same_weights(whole, resumed)


def test_the_callback_changes_nothing_in_a_run_that_is_not_resumed(foreign, fit):
    with_it, _ = run(fit, foreign, [], shuffled(foreign))
    random.seed(0)
    np.random.seed(0)
    without = noisy(foreign)
    fit(without, [], train=shuffled(foreign), max_epochs=4)
    assert foreign.same_weights(with_it, without)


def test_without_it_a_resumed_run_differs(foreign, fit, tmp_path):
    whole, _ = run(fit, foreign, [ModelCheckpoint(tmp_path, "{epoch}", save_top_k=-1)], shuffled(foreign))
    torch.manual_seed(5)
    resumed = noisy(foreign)
    fit(resumed, [], train=shuffled(foreign), resume=tmp_path / "epoch=1.ckpt", seed=99, max_epochs=4)
    assert not foreign.same_weights(whole, resumed)


def test_a_checkpoint_without_states_and_a_test_of_a_checkpoint_leave_the_generators_alone(foreign, fit, tmp_path):
    trainer = fit(foreign.Module(), max_epochs=1)
    trainer.save_checkpoint(tmp_path / "other.ckpt")
    fit(foreign.Module(), [RandomStateCheckpoint()], resume=tmp_path / "other.ckpt")

    module, trainer = run(fit, foreign, [], shuffled(foreign))
    trainer.save_checkpoint(tmp_path / "with.ckpt")
    callback = RandomStateCheckpoint()
    trainer.callbacks.append(callback)
    trainer.test(module, foreign.loader(), ckpt_path=tmp_path / "with.ckpt", verbose=False, weights_only=True)
    assert callback._loaded is None


class RankedDraws(Callback):
    """Advances the generator of each rank differently, and records what it draws in the second epoch."""

    def __init__(self, folder):
        self.folder, self.drawn = folder, []

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        numbers = torch.rand(1 + trainer.global_rank)
        if trainer.current_epoch == 1:
            self.drawn.append(numbers[-1].item())

    def on_train_end(self, trainer, pl_module):
        torch.save(self.drawn, self.folder / f"{trainer.global_rank}.pt")


@pytest.mark.slow
def test_every_rank_gets_its_own_states_back(foreign, fit, tmp_path):
    options = {"strategy": "ddp_spawn", "devices": 2}
    whole, resumed = tmp_path / "whole", tmp_path / "resumed"
    whole.mkdir()
    resumed.mkdir()
    checkpoints = ModelCheckpoint(tmp_path, "{epoch}", save_top_k=-1)
    fit(foreign.Module(), [RandomStateCheckpoint(), RankedDraws(whole), checkpoints], **options)
    fit(
        foreign.Module(), [RandomStateCheckpoint(), RankedDraws(resumed)],
        resume=tmp_path / "epoch=0.ckpt", seed=9, **options,
    )  # fmt: skip
    drawn = [[torch.load(folder / f"{rank}.pt") for rank in (0, 1)] for folder in (whole, resumed)]
    assert drawn[0] == drawn[1]
    assert drawn[0][0] != drawn[0][1]
