"""Plans of streams: how recordings are dealt over lanes, for training and for evaluation."""

from heapq import heapify, heapreplace

import numpy as np
from numpy.typing import NDArray

from vestim_pl.data.indexing.stream_plan import StreamPlan, build_plan

__all__ = ["evaluation_lanes", "evaluation_plan", "training_plan"]

Integers = NDArray[np.int64]


def training_plan(
    starts: Integers,
    lengths: Integers,
    chunk: int,
    lanes: int,
    *,
    burn_in: int = 0,
    order_seed: tuple[int, int] | None = None,
    rank: int = 0,
    world_size: int = 1,
) -> StreamPlan:
    """Deal all recordings over the lanes of all ranks.

    The recordings are put one after the other in a random order and cut into chunks. The chunks are dealt evenly: each
    lane gets a run of them, all lanes the same number or one less, so lanes finish together and every rank takes the
    same number of batches. Where a lane begins inside a recording its first rows are burn-in after a reset.

    Chunk borders lie elsewhere every epoch: a recording's first chunk is shortened by a random phase and padded in
    front, because padding behind would disturb the state that is carried on. The phases are drawn such that the number
    of chunks, and with it the number of batches, is the same every epoch.

    Args:
        starts: ``[R]`` first row of each recording.
        lengths: ``[R]`` rows of each recording, at least 1.
        chunk: Steps of a chunk (L).
        lanes: Lanes of one rank (B).
        burn_in: Rows after a reset that do not count.
        order_seed: (seed, epoch) of the order and the phases; None keeps the order and cuts from the first row.
        rank: This rank.
        world_size: Number of ranks.

    Returns:
        Plan of this rank's lanes. Every row of every recording runs once through one lane of one rank.

    """
    phases = np.zeros(len(lengths), dtype=np.int64)
    if order_seed is not None:
        random = np.random.default_rng(order_seed)
        order = random.permutation(len(lengths))
        starts, lengths = starts[order], lengths[order]
        phases = _draw_phases(lengths, chunk, random)
    ends = np.cumsum(-(-(lengths + phases) // chunk))  # chunks up to and with each recording
    total, all_lanes = int(ends[-1]), lanes * world_size
    bounds = np.arange(all_lanes + 1, dtype=np.int64) * total // all_lanes
    bounds = bounds[rank * lanes : (rank + 1) * lanes + 1]
    batches = -(-total // all_lanes)

    number = bounds[:-1] + np.arange(batches, dtype=np.int64)[:, None]  # [T, B] chunk in the row of all chunks
    active = number < bounds[1:]
    number = np.clip(number, 0, np.maximum(bounds[1:] - 1, 0))
    recording = np.searchsorted(ends, number, side="right")
    begins = np.concatenate([[0], ends[:-1]])[recording]
    first_of_segment = np.maximum(begins, bounds[:-1])
    offset = (number - begins) * chunk - phases[recording]
    reset = np.maximum((first_of_segment - begins) * chunk - phases[recording], 0)
    return build_plan(
        starts[recording], lengths[recording], offset, reset, number == first_of_segment, active, chunk, burn_in
    )


def evaluation_lanes(lengths: Integers, chunk: int, most: int, world_size: int = 1) -> int:
    """Lanes of one rank such that whole recordings keep them busy until the longest is through.

    Args:
        lengths: ``[R]`` rows of each recording.
        chunk: Steps of a chunk.
        most: Most lanes of one rank.
        world_size: Number of ranks.

    Example::

        >>> evaluation_lanes(np.array([1000, 500, 500]), chunk=100, most=16)
        2

    """
    chunks = -(-lengths // chunk)
    fitting = int(chunks.sum() // chunks.max())
    return min(most, -(-fitting // world_size))


def evaluation_plan(
    starts: Integers,
    lengths: Integers,
    chunk: int,
    lanes: int,
    *,
    burn_in: int = 0,
    rank: int = 0,
    world_size: int = 1,
) -> StreamPlan:
    """Run whole recordings through the lanes of all ranks, none cut, the same way every time.

    Each recording, the longest first, goes to the lane with the least to do, which keeps the lanes' ends close together
    (longest processing time first, Graham 1969).

    Args:
        starts: ``[R]`` first row of each recording.
        lengths: ``[R]`` rows of each recording, at least 1.
        chunk: Steps of a chunk (L).
        lanes: Lanes of one rank (B).
        burn_in: Rows at the start of each recording that do not count.
        rank: This rank.
        world_size: Number of ranks.

    Returns:
        Plan of this rank's lanes, with as many batches as on every other rank.

    """
    chunks = -(-lengths // chunk)
    loads = [(0, lane) for lane in range(lanes * world_size)]
    heapify(loads)
    queues: list[list[int]] = [[] for _ in loads]
    for recording in np.argsort(-lengths, kind="stable").tolist():
        load, lane = loads[0]
        queues[lane].append(recording)
        heapreplace(loads, (load + int(chunks[recording]), lane))
    batches = max(load for load, _ in loads)

    recordings = np.zeros((batches, lanes), dtype=np.int64)
    offset = np.zeros_like(recordings)
    active = np.zeros(recordings.shape, dtype=bool)
    for lane, queue in enumerate(queues[rank * lanes : (rank + 1) * lanes]):
        step = 0
        for recording in queue:
            span = slice(step, step + int(chunks[recording]))
            recordings[span, lane] = recording
            offset[span, lane] = np.arange(chunks[recording]) * chunk
            active[span, lane] = True
            step = span.stop
        if queue:  # an empty lane goes on with the last chunk it had
            recordings[step:, lane] = recordings[step - 1, lane]
            offset[step:, lane] = offset[step - 1, lane]
    fresh = offset == 0
    return build_plan(
        starts[recordings], lengths[recordings], offset, np.zeros_like(offset), fresh, active, chunk, burn_in
    )


def _draw_phases(lengths: Integers, chunk: int, random: np.random.Generator) -> Integers:
    """``[R]`` rows by which each recording's first chunk is shortened, close to uniform over 0 to ``chunk - 1``.

    A phase beyond the slack of a recording's last chunk costs a chunk more. So that their number is the same every
    epoch, a fixed number of recordings gets one more, drawn without replacement by the odds of such a phase (weighted
    sampling with a reservoir, Efraimidis and Spirakis 2006).
    """
    slack = -lengths % chunk
    more = chunk - 1 - slack  # phases that cost a chunk more
    size = int(np.rint(more.sum() / chunk))
    with np.errstate(divide="ignore"):
        keys = np.log(random.random(len(lengths))) * ((slack + 1) / more)
    longer = np.zeros(len(lengths), dtype=bool)
    longer[np.argsort(-keys, kind="stable")[:size]] = True
    return random.integers(np.where(longer, slack + 1, 0), np.where(longer, chunk, slack + 1))
