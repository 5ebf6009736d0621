import logging

from lightning.pytorch.demos.boring_classes import BoringModel

from vestim_pl.lightning_support.quiet_trainer import quiet_trainer


def test_prints_and_writes_nothing(caplog, capsys, tmp_path):
    level = logging.getLogger("lightning.pytorch").level
    trainer = quiet_trainer()
    assert trainer.log_every_n_steps > 0
    assert not caplog.records
    assert capsys.readouterr() == ("", "")
    assert list(tmp_path.iterdir()) == []
    assert logging.getLogger("lightning.pytorch").level == level


def test_reports_epoch_and_step_of_the_run():
    trainer = quiet_trainer(epoch=3, step=70, batches=12, max_epochs=9, accumulate_grad_batches=2)
    module = BoringModel()
    module.trainer = trainer
    assert (module.current_epoch, module.global_step, trainer.num_training_batches) == (3, 70, 12)
    assert (trainer.max_epochs, trainer.accumulate_grad_batches, trainer.training) == (9, 2, True)
