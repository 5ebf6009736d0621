"""Keeping step-wise schedulers from advancing after an optimizer step that was not applied."""

from collections.abc import Sequence

from lightning.pytorch.utilities.types import LRSchedulerConfig

__all__ = ["SchedulerHold"]


class SchedulerHold:
    """Takes step-wise schedulers off the training loop's clock until they are released.

    Lightning advances a scheduler of ``interval: step`` after every optimizer step, applied or not (Lightning issues
    5558, 16228). Restoring its state afterwards would have to know what each scheduler changed in the optimizer; not
    letting it advance needs nothing of it. So the interval is renamed for the one step.

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
        self._held: list[LRSchedulerConfig] = []

    def engage(self, configs: Sequence[LRSchedulerConfig]) -> None:
        """Hold every scheduler that would advance with this step."""
        for config in configs:
            if config.interval == "step":
                config.interval = "held"
                self._held.append(config)

    def release(self) -> None:
        """Let the held ones go on; nothing where none is held."""
        for config in self._held:
            config.interval = "step"
        self._held.clear()
