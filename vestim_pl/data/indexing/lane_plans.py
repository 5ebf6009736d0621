"""Plans that distribute recordings over lanes, for training and for evaluation."""

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
    """Distribute all recordings over the lanes of all ranks, for one epoch of training.

    The recordings are joined in a random order and cut into chunks. Each lane gets a run of consecutive chunks, and the
    lanes' numbers of chunks differ by at most one. All lanes therefore finish together, and all ranks have the same
    number of batches. A lane that begins inside a recording starts with burn-in rows after a reset.

    Chunk borders differ in every epoch: a random phase shortens a recording's first chunk, which is padded in front,
    because padding at the end would disturb the carried state. The phases are drawn so that the number of chunks, and
    with it the number of batches, is the same in every epoch.

    Args:
        starts: ``[R]`` first row of each recording.
        lengths: ``[R]`` rows of each recording, at least 1.
        chunk: Steps of a chunk (L).
        lanes: Lanes of one rank (B).
        burn_in: Rows after a reset that do not count.
        order_seed: (seed, epoch) of order and phases; None keeps the order and cuts from the first row.
        rank: This rank.
        world_size: Number of ranks.

    Returns:
        Plan of this rank's lanes. Each row of each recording runs once, through one lane of one rank.

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

    number = bounds[:-1] + np.arange(batches, dtype=np.int64)[:, None]  # [T, B] position among all chunks
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
    """Return how many lanes of a rank whole recordings keep busy until the longest one ends.

    Args:
        lengths: ``[R]`` rows of each recording.
        chunk: Steps of a chunk.
        most: Largest number of lanes of one rank.
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
    """Distribute whole recordings over the lanes of all ranks, the same way every time.

    Each recording, the longest first, goes to the lane with the fewest chunks, so the lanes end close together (longest
    processing time first, Graham 1969).

    Args:
        starts: ``[R]`` first row of each recording.
        lengths: ``[R]`` rows of each recording, at least 1.
        chunk: Steps of a chunk (L).
        lanes: Lanes of one rank (B).
        burn_in: Rows at the start of each recording that do not count.
        rank: This rank.
        world_size: Number of ranks.

    Returns:
        Plan of this rank's lanes, with the same number of batches as on all other ranks.

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
        if queue:  # after its last recording, a lane repeats its last chunk with weight 0
            recordings[step:, lane] = recordings[step - 1, lane]
            offset[step:, lane] = offset[step - 1, lane]
    fresh = offset == 0
    return build_plan(
        starts[recordings], lengths[recordings], offset, np.zeros_like(offset), fresh, active, chunk, burn_in
    )


def _draw_phases(lengths: Integers, chunk: int, random: np.random.Generator) -> Integers:
    """Draw the rows ``[R]`` by which each first chunk is shortened, nearly uniform over 0 to ``chunk - 1``.

    A phase larger than the slack of a recording's last chunk needs one more chunk. To keep the total the same in every
    epoch, a fixed number of recordings gets one more chunk. They are drawn without replacement, weighted by the odds of
    such a phase (weighted reservoir sampling, Efraimidis and Spirakis 2006).
    """
    slack = -lengths % chunk
    more = chunk - 1 - slack  # phases that need one more chunk
    size = int(np.rint(more.sum() / chunk))
    with np.errstate(divide="ignore"):
        keys = np.log(random.random(len(lengths))) * ((slack + 1) / more)
    longer = np.zeros(len(lengths), dtype=bool)
    longer[np.argsort(-keys, kind="stable")[:size]] = True
    return random.integers(np.where(longer, slack + 1, 0), np.where(longer, chunk, slack + 1))
