"""A recovery, and all recoveries of a training, in words."""

from collections.abc import Mapping, Sequence
from typing import Any

from lightning.pytorch import Trainer

from vestim_pl.lightning_support.learning_rate import LearningRateFactors

__all__ = ["effective_rate", "tell_attempt", "tell_story", "tell_stuck"]


def effective_rate(trainer: Trainer) -> float:
    """Learning rate of the first parameter group at its next update."""
    return float(LearningRateFactors.of(trainer).effective(trainer.optimizers[0])[0])


def tell_attempt(attempt: Mapping[str, Any]) -> str:
    """One recovery in words.

    Args:
        attempt: ``cause``, ``step``, ``back_to_step``, ``learning_rate_before`` and ``learning_rate_after``.

    Example::

        >>> tell_attempt({"cause": "epoch 0, batch 7: the loss is nan", "step": 8, "back_to_step": 5,
        ...     "learning_rate_before": 0.1, "learning_rate_after": 0.01})
        'epoch 0, batch 7: the loss is nan; at step 8 went back to step 5, learning rate 0.1 -> 0.01'

    """
    return (
        f"{attempt['cause']}; at step {attempt['step']} went back to step {attempt['back_to_step']}, learning rate"
        f" {attempt['learning_rate_before']:.3g} -> {attempt['learning_rate_after']:.3g}"
    )


def tell_story(attempts: Sequence[Mapping[str, Any]], reason: str, learning_rate: float) -> str:
    """The whole story of a training that diverged for good, in one line.

    Args:
        attempts: The recoveries, as for `tell_attempt`.
        reason: The divergence for which none was left.
        learning_rate: Learning rate at the end.

    Example::

        >>> tell_story([], "epoch 0, batch 7: the loss is nan", 0.1)[:60]
        'training diverged and all 0 recoveries are used up: epoch 0,'

    """
    told = _tell_all(attempts, reason, learning_rate)
    return (
        f"training diverged and all {len(attempts)} recoveries are used up: {told}."
        " The last good state is back in place. Lower the learning rate, raise max_attempts, or look at the rows that"
        " the events name"
    )


def tell_stuck(
    attempts: Sequence[Mapping[str, Any]], reason: str, learning_rate: float, snapshot_step: int | None
) -> str:
    """The story of a training that diverged with no state to go back to, in one line with the way out.

    Args:
        attempts: The recoveries, as for `tell_attempt`.
        reason: The divergence.
        learning_rate: Learning rate at the end.
        snapshot_step: Step of the last good state, which does not fit the module any more; None if there never was one.

    Example::

        >>> tell_stuck([], "epoch 0, batch 0: the loss is nan", 0.1, None)[:63]
        'training diverged with no state to go back to: epoch 0, batch 0'

    """
    told = _tell_all(attempts, reason, learning_rate)
    if snapshot_step is None:
        why = "It was not finite from the start on: look at the initialization, or resume from an earlier checkpoint"
    else:
        why = (
            f"Layers, optimizers or schedulers have changed since that of step {snapshot_step}: change them at the"
            " start of an epoch, and there is one anew"
        )
    return f"training diverged with no state to go back to: {told}. {why}"


def _tell_all(attempts: Sequence[Mapping[str, Any]], reason: str, learning_rate: float) -> str:
    told = [f"({number}) {tell_attempt(attempt)}" for number, attempt in enumerate(attempts, start=1)]
    told.append(f"{'then ' if told else ''}{reason}, at learning rate {learning_rate:.3g}")
    return "; ".join(told)
