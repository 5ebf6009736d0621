from lightning.pytorch import Callback, Trainer

from vestim_pl.functional.callback_order import callback_before


class Looks(Callback):
    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        pass


def test_the_nearest_one_that_has_the_hook():
    first, second, third, last = Looks(), Looks(), Callback(), Looks()
    trainer = Trainer(
        callbacks=[first, second, third, last], logger=False, enable_checkpointing=False, enable_progress_bar=False
    )
    assert callback_before(trainer, last, "on_train_batch_end") is second
    assert callback_before(trainer, first, "on_train_batch_end") is None
    assert callback_before(trainer, last, "on_fit_start") is None
