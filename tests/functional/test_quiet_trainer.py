import logging

from vestim_pl.functional.quiet_trainer import quiet_trainer


def test_is_made_without_a_word(caplog, capsys, tmp_path):
    level = logging.getLogger("lightning.pytorch").level
    trainer = quiet_trainer()
    assert trainer.log_every_n_steps > 0
    assert not caplog.records
    assert capsys.readouterr() == ("", "")
    assert list(tmp_path.iterdir()) == []
    assert logging.getLogger("lightning.pytorch").level == level
