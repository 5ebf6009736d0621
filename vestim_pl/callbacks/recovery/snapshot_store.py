"""The snapshots of a training that may still be gone back to."""

from collections.abc import Callable
from typing import Any

__all__ = ["SnapshotStore"]


class SnapshotStore:
    """Two generations of snapshots that proved good, one on probation, and those of the best loss and validation.

    Finite is not yet good: the update that made the weights huge leaves them finite, and only the next loss shows it.
    So a new snapshot counts once the loss computed with its weights was good, and the one before it is kept for the
    case that the newest leads astray again.

    A slow divergence makes good losses step by step, and bad ones only beside those of long ago. For that case there
    are two snapshots more: one from which the best losses so far were reached, and the one validated best.

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
        """The newest good snapshot."""
        return self.good[-1] if self.good else None

    def offer(self, snapshot: dict[str, Any]) -> None:
        """Put a snapshot on probation."""
        self.pending = snapshot

    def confirm(self) -> bool:
        """The loss with the pending snapshot's weights was good; returns whether there was one."""
        if self.pending is None:
            return False
        self.good = [*self.good[-1:], self.pending]
        self.pending = None
        return True

    def mark_best(self, since: int) -> None:
        """The losses since that step are the best so far: keep the newest good snapshot that is not younger."""
        old = [snapshot for snapshot in self.good if snapshot["global_step"] <= since]
        self.best = next(iter(old[-1:] or self.good), None)

    def step_back(self, to_older: bool, to: dict[str, Any] | None = None) -> None:
        """Drop the snapshot on probation; and all but the one given, or the newest if there is an older good one."""
        self.pending = None
        if to is not None:
            self.good = [to]
        elif to_older and len(self.good) > 1:
            self.good.pop()

    def keep(self, fits: Callable[[dict[str, Any]], bool]) -> None:
        """Drop the snapshots that do not fit the module any more."""
        self.good = [snapshot for snapshot in self.good if fits(snapshot)]
        self.pending, self.best, self.validated = (
            snapshot if snapshot and fits(snapshot) else None for snapshot in (self.pending, self.best, self.validated)
        )

    def state_dict(self) -> dict[str, Any]:
        """The snapshots, as they are."""
        return {"pending": self.pending, "good": list(self.good), "best": self.best, "validated": self.validated}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take snapshots back; what is missing starts anew."""
        self.pending = state.get("pending")
        self.good = list(state.get("good", []))
        self.best = state.get("best")
        self.validated = state.get("validated")
