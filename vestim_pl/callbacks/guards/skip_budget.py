"""The number of skipped steps that StepGuard tolerates."""

from typing import Any

from vestim_pl.errors import ConfigurationError

__all__ = ["SkipBudget"]


class SkipBudget:
    """Counts skipped steps per epoch and in a row, against a limit for each.

    Args:
        per_epoch: Skips tolerated within one epoch.
        consecutive: Skips tolerated in a row.

    Raises:
        ConfigurationError: If a limit is negative.

    Example::

        >>> budget = SkipBudget(per_epoch=10, consecutive=1)
        >>> budget.skipped(epoch=0)
        (True, '1 of 10 skips allowed this epoch, 1 of 1 in a row')
        >>> budget.skipped(epoch=0)
        (False, '2 skips in a row, 1 allowed')

    """

    def __init__(self, per_epoch: int, consecutive: int) -> None:
        for name, limit in (("max_skips_per_epoch", per_epoch), ("max_consecutive_skips", consecutive)):
            if limit < 0:
                raise ConfigurationError(f"StepGuard.{name}: {limit} is negative; 0 allows none, 5 in a row is usual")
        self.per_epoch = per_epoch
        self.consecutive = consecutive
        self._epoch = -1
        self._this_epoch = self._in_a_row = 0

    def applied(self) -> None:
        self._in_a_row = 0

    def skipped(self, epoch: int) -> tuple[bool, str]:
        """Count a skip; returns whether it was within the budget, and the count or the exceeded limit in words."""
        if epoch != self._epoch:
            self._epoch, self._this_epoch = epoch, 0
        self._this_epoch += 1
        self._in_a_row += 1
        if self._in_a_row > self.consecutive:
            return False, f"{self._in_a_row} skips in a row, {self.consecutive} allowed"
        if self._this_epoch > self.per_epoch:
            return False, f"{self._this_epoch} skips in this epoch, {self.per_epoch} allowed"
        row = f"{self._in_a_row} of {self.consecutive} in a row"
        return True, f"{self._this_epoch} of {self.per_epoch} skips allowed this epoch, {row}"

    def reset(self) -> None:
        self._this_epoch = self._in_a_row = 0

    def state_dict(self) -> dict[str, Any]:
        return {"epoch": self._epoch, "this_epoch": self._this_epoch, "in_a_row": self._in_a_row}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._epoch = state.get("epoch", -1)
        self._this_epoch = state.get("this_epoch", 0)
        self._in_a_row = state.get("in_a_row", 0)
