from lightning.pytorch.utilities.types import LRSchedulerConfig

from vestim_pl.lightning_support.pauses import SchedulerPause


def test_only_stepwise_schedulers_are_paused_and_a_second_start_changes_nothing():
    configs = [LRSchedulerConfig(scheduler=None, interval=interval) for interval in ("step", "epoch")]
    pause = SchedulerPause()
    pause.start(configs)
    pause.start(configs)
    assert [config.interval for config in configs] == ["paused", "epoch"]
    pause.stop()
    assert [config.interval for config in configs] == ["step", "epoch"]
