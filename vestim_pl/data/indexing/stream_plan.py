"""Index arithmetic of streams: the rows of each lane, chunk by chunk.

A *lane* is one place in the batch; recordings run through it one after another, with carried state. A *chunk* is the
part of a lane in one batch. A *segment* is the part of a recording that runs through one lane without a reset.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

__all__ = ["StreamPlan", "StreamStep", "build_plan", "stream_step"]

Integers = NDArray[np.int64]


class StreamStep(NamedTuple):
    """Rows of one batch, for indexing: ``data[step.rows]``.

    Shape legend: B lanes, L steps of a chunk.

    Attributes:
        rows: ``[B, L]`` int64 row of each step; padding repeats the nearest row of its recording.
        weight: ``[B, L]`` float32, 1 where a step counts, 0 in burn-in and padding.
        valid: ``[B, L]`` bool, false in padding; each valid row occurs once an epoch, burn-in included.
        fresh: ``[B]`` bool, true where the lane starts from the zero state.
        first_row: ``[B]`` int64 first valid row of each lane, -1 in an empty lane.

    """

    rows: Integers
    weight: NDArray[np.float32]
    valid: NDArray[np.bool_]
    fresh: NDArray[np.bool_]
    first_row: Integers


class StreamPlan(NamedTuple):
    """Chunks of one epoch: T batches of B lanes.

    Attributes:
        first: ``[T, B]`` row of a chunk's first step; before the recording's first row where the chunk is padded in
            front.
        begin: ``[T, B]`` first step that is a row of the recording.
        end: ``[T, B]`` one after the last such step; at most ``begin`` in an empty lane.
        last: ``[T, B]`` step whose row the padding at the end repeats.
        count_from: ``[T, B]`` first step that counts in the loss.
        fresh: ``[T, B]`` whether the lane starts from the zero state.

    """

    first: Integers
    begin: Integers
    end: Integers
    last: Integers
    count_from: Integers
    fresh: NDArray[np.bool_]


def stream_step(plan: StreamPlan, batch: int, chunk: int) -> StreamStep:
    """Return rows, weights and resets of one batch of a plan.

    Args:
        plan: Plan of an epoch.
        batch: Batch of the plan.
        chunk: Steps of a chunk (L).

    """
    steps = np.arange(chunk, dtype=np.int64)
    begin, end = plan.begin[batch][:, None], plan.end[batch][:, None]
    first = plan.first[batch]
    rows = np.minimum(np.maximum(steps, begin), plan.last[batch][:, None])
    rows += first[:, None]
    before_end = steps < end
    valid = before_end & (steps >= begin)
    weight = (before_end & (steps >= plan.count_from[batch][:, None])).astype(np.float32)
    first_row = np.where(plan.end[batch] > 0, first + plan.begin[batch], -1)
    return StreamStep(rows, weight, valid, plan.fresh[batch].copy(), first_row)


def build_plan(
    starts: Integers,
    lengths: Integers,
    offset: Integers,
    reset: Integers,
    fresh: NDArray[np.bool_],
    active: NDArray[np.bool_],
    chunk: int,
    burn_in: int,
) -> StreamPlan:
    """Build a plan from the position of each chunk; all arrays are ``[T, B]``.

    Args:
        starts: First row of the chunk's recording.
        lengths: Rows of that recording.
        offset: Row of the recording where the chunk starts; negative if it is padded in front.
        reset: Row of the recording before which the state was reset.
        fresh: Whether the lane is reset right before the chunk.
        active: Whether the lane still has rows; otherwise the chunk is all padding.
        chunk: Steps of a chunk (L).
        burn_in: Rows after a reset that do not count.

    """
    begin = np.maximum(-offset, 0)
    end = np.minimum(lengths - offset, chunk)
    count_from = np.maximum(reset + burn_in - offset, begin)
    return StreamPlan(
        starts + offset,
        np.where(active, begin, end - 1),
        np.where(active, end, 0),
        end - 1,
        count_from,
        fresh | ~active,
    )
