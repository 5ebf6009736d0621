"""A profiler that costs nothing, for steps of a few milliseconds."""

from contextlib import AbstractContextManager, nullcontext

from lightning.pytorch.profilers import Profiler

__all__ = ["NoProfiler"]

_NOTHING: AbstractContextManager[None] = nullcontext()


class NoProfiler(Profiler):
    """Profile nothing, at a fifth of the cost of Lightning's default.

    Lightning calls its profiler about a hundred times in a training step: around every hook of every callback. Its
    ``PassThroughProfiler`` makes a new context each time, about 1 us; this one returns the same context every time.
    That saves some three per cent of a 3 ms step.

    Example::

        >>> from lightning.pytorch import Trainer
        >>> trainer = Trainer(profiler=NoProfiler(), logger=False, accelerator="cpu")
        >>> with trainer.profiler.profile("anything"):
        ...     pass

    """

    def start(self, action_name: str) -> None: ...

    def stop(self, action_name: str) -> None: ...

    def profile(self, action_name: str) -> AbstractContextManager[None]:  # type: ignore[override]
        """Return a context that does nothing."""
        return _NOTHING
