"""Keeping schedulers from advancing after a step that was not applied, or by a metric that does not count."""

from collections.abc import Collection, Sequence

from lightning.pytorch.utilities.types import LRSchedulerConfig

__all__ = ["SchedulerHold"]

_HELD = "held"


class SchedulerHold:
    """Takes schedulers off the training loop's clock until they are released.

    Lightning advances a scheduler of ``interval: step`` after every optimizer step, applied or not (Lightning issues
    5558, 16228). Restoring its state afterwards would have to know what each scheduler changed in the optimizer; not
    letting it advance needs nothing of it. So the interval is renamed meanwhile.

    Example::

        >>> from lightning.pytorch.utilities.types import LRSchedulerConfig
        >>> config = LRSchedulerConfig(scheduler=None, interval="step")
        >>> hold = SchedulerHold()
        >>> hold.engage([config])
        >>> config.interval
        'held'
        >>> hold.release()
        >>> config.interval
        'step'

    """

    def __init__(self) -> None:
        self._held: list[tuple[LRSchedulerConfig, str]] = []

    def engage(self, configs: Sequence[LRSchedulerConfig]) -> None:
        """Hold every scheduler that would advance with this step."""
        self._hold([config for config in configs if config.interval == "step"])

    def engage_plateaus(self, configs: Sequence[LRSchedulerConfig], metrics: Collection[str]) -> None:
        """Hold those that reduce on a plateau of one of the metrics."""
        self._hold([config for config in configs if config.reduce_on_plateau and config.monitor in metrics])

    def release(self) -> None:
        """Let the held ones go on; nothing where none is held."""
        for config, interval in self._held:
            config.interval = interval
        self._held.clear()

    def _hold(self, configs: Sequence[LRSchedulerConfig]) -> None:
        for config in configs:
            if config.interval != _HELD:  # else by another hold, which gives it back
                self._held.append((config, config.interval))
                config.interval = _HELD
