from lightning.pytorch.utilities.types import LRSchedulerConfig

from vestim_pl.lightning_support.scheduler_pause import SchedulerHold


def test_only_stepwise_schedulers_are_held_and_twice_is_once():
    configs = [LRSchedulerConfig(scheduler=None, interval=interval) for interval in ("step", "epoch")]
    hold = SchedulerHold()
    hold.engage(configs)
    hold.engage(configs)
    assert [config.interval for config in configs] == ["held", "epoch"]
    hold.release()
    assert [config.interval for config in configs] == ["step", "epoch"]
