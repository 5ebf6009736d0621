"""The snapshots of a training that a rollback can use."""

from collections.abc import Callable
from typing import Any

__all__ = ["SnapshotStore"]


class SnapshotStore:
    """Holds two generations of good snapshots, a pending one, and those of the best loss and the best validation.

    A finite snapshot need not be good: an update may leave the weights huge but finite, which only the next loss shows.
    A new snapshot is therefore pending until the loss with its weights was good. The one before it is kept, in case
    training diverges again from the newest.

    In a slow divergence every loss looks good beside the one before. For that case there are two more snapshots: one
    from which the best losses so far were reached, and the one with the best validation.

    Example::

        >>> store = SnapshotStore()
        >>> store.offer({"global_step": 1})
        >>> store.newest is None
        True
        >>> store.confirm()
        True
        >>> store.newest
        {'global_step': 1}

    """

    pending: dict[str, Any] | None
    good: list[dict[str, Any]]
    best: dict[str, Any] | None
    validated: dict[str, Any] | None

    def __init__(self) -> None:
        self.load_state_dict({})

    @property
    def newest(self) -> dict[str, Any] | None:
        return self.good[-1] if self.good else None

    def offer(self, snapshot: dict[str, Any]) -> None:
        self.pending = snapshot

    def confirm(self) -> bool:
        """Accept the pending snapshot, as the loss with its weights was good; returns whether there was one."""
        if self.pending is None:
            return False
        self.good = [*self.good[-1:], self.pending]
        self.pending = None
        return True

    def mark_best(self, since: int) -> None:
        """Keep the newest good snapshot up to step ``since``, as the losses from there on are the best so far."""
        old = [snapshot for snapshot in self.good if snapshot["global_step"] <= since]
        self.best = next(iter(old[-1:] or self.good), None)

    def step_back(self, to_older: bool, to: dict[str, Any] | None = None) -> None:
        """Drop the pending snapshot, and all good ones but ``to``, or the newest if an older one is wanted."""
        self.pending = None
        if to is not None:
            self.good = [to]
        elif to_older and len(self.good) > 1:
            self.good.pop()

    def keep(self, fits: Callable[[dict[str, Any]], bool]) -> None:
        """Drop the snapshots that no longer fit the module."""
        self.good = [snapshot for snapshot in self.good if fits(snapshot)]
        self.pending, self.best, self.validated = (
            snapshot if snapshot and fits(snapshot) else None for snapshot in (self.pending, self.best, self.validated)
        )

    def state_dict(self) -> dict[str, Any]:
        return {"pending": self.pending, "good": list(self.good), "best": self.best, "validated": self.validated}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.pending = state.get("pending")
        self.good = list(state.get("good", []))
        self.best = state.get("best")
        self.validated = state.get("validated")
