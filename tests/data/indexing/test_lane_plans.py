import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vestim_pl.data.indexing.lane_plans import evaluation_lanes, evaluation_plan, training_plan
from vestim_pl.data.indexing.stream_plan import stream_step

recordings = st.lists(st.integers(1, 60), min_size=1, max_size=8).map(lambda lengths: np.array(lengths, dtype=np.int64))
chunks, some_lanes, burn_ins, worlds = st.integers(1, 9), st.integers(1, 5), st.integers(0, 12), st.integers(1, 3)


def follow(plan, chunk, lengths, burn_in):
    """Run a plan as a network would, check each lane, and return rows run, rows counted and resets."""
    borders = np.concatenate([[0], np.cumsum(lengths)])
    ran, counted, resets = [], [], []
    lanes = plan.fresh.shape[1]
    behind = [None] * lanes  # row that has to come next
    since_reset = [0] * lanes
    for batch in range(len(plan.fresh)):
        step = stream_step(plan, batch, chunk)
        assert step.rows.min() >= 0
        assert step.rows.max() < borders[-1]
        assert not (step.weight > step.valid).any()
        for lane in range(lanes):
            rows = step.rows[lane][step.valid[lane]].tolist()
            if not rows:
                assert step.first_row[lane] == -1
                assert step.fresh[lane]
                behind[lane] = None
                continue
            assert rows == list(range(rows[0], rows[0] + len(rows)))
            assert step.first_row[lane] == rows[0]
            recording = np.searchsorted(borders, step.rows[lane], side="right")
            assert len(set(recording.tolist())) == 1, "a chunk, padding included, is of one recording"
            if step.fresh[lane]:
                since_reset[lane] = 0
                resets.append(rows[0])
            else:
                assert rows[0] == behind[lane], "carried state needs the next row of the same recording"
                assert step.valid[lane][0], "padding in front would disturb the carried state"
            weights = step.weight[lane][step.valid[lane]]
            for row, weight in zip(rows, weights, strict=True):
                assert weight == (since_reset[lane] >= burn_in)
                since_reset[lane] += 1
                ran.append(row)
                if weight:
                    counted.append(row)
            complete = step.valid[lane][-1]
            ended = rows[-1] + 1 in borders
            assert complete or ended, "padding behind only at a recording's end"
            behind[lane] = None if ended else rows[-1] + 1
    return ran, counted, resets


@given(recordings, chunks, some_lanes, burn_ins, worlds, st.integers(0, 5), st.booleans())
def test_in_training_every_row_runs_once_on_one_rank(lengths, chunk, lanes, burn_in, world_size, epoch, shuffle):
    starts = np.cumsum(lengths) - lengths
    plans = [
        training_plan(
            starts,
            lengths,
            chunk,
            lanes,
            burn_in=burn_in,
            order_seed=(7, epoch) if shuffle else None,
            rank=rank,
            world_size=world_size,
        )
        for rank in range(world_size)
    ]
    ran = [row for plan in plans for row in follow(plan, chunk, lengths, burn_in)[0]]
    assert sorted(ran) == list(range(lengths.sum()))
    assert len({len(plan.fresh) for plan in plans}) == 1
    chunks_in_use = sum(int((plan.end > 0).sum()) for plan in plans)
    slots = sum(plan.fresh.size for plan in plans)
    assert slots - chunks_in_use < lanes * world_size, "less than one batch of all ranks is empty"


@given(recordings, chunks, some_lanes, st.integers(0, 1000))
def test_every_epoch_has_the_same_number_of_batches(lengths, chunk, lanes, seed):
    starts = np.cumsum(lengths) - lengths
    batches = {len(training_plan(starts, lengths, chunk, lanes, order_seed=(seed, epoch)).fresh) for epoch in range(6)}
    assert len(batches) == 1


@given(recordings, chunks, some_lanes, burn_ins, worlds)
def test_an_evaluation_runs_whole_recordings_once(lengths, chunk, most, burn_in, world_size):
    starts = np.cumsum(lengths) - lengths
    lanes = evaluation_lanes(lengths, chunk, most, world_size)
    assert 1 <= lanes <= most
    plans = [
        evaluation_plan(starts, lengths, chunk, lanes, burn_in=burn_in, rank=rank, world_size=world_size)
        for rank in range(world_size)
    ]
    followed = [follow(plan, chunk, lengths, burn_in) for plan in plans]
    assert sorted(row for ran, _, _ in followed for row in ran) == list(range(lengths.sum()))
    assert sorted(row for _, _, resets in followed for row in resets) == starts.tolist()
    assert sum(len(counted) for _, counted, _ in followed) == np.maximum(lengths - burn_in, 0).sum()
    assert len({len(plan.fresh) for plan in plans}) == 1


def test_order_and_chunk_borders_are_new_every_epoch():
    lengths = np.array([1000, 700, 900, 400])
    starts = np.cumsum(lengths) - lengths
    plans = [training_plan(starts, lengths, 50, 2, order_seed=(0, epoch)) for epoch in range(20)]
    assert len({tuple(plan.first[0]) for plan in plans}) == 20
    borders = {int(row) % 50 for plan in plans for row in plan.first.reshape(-1)}
    assert len(borders) > 30, "chunks start at nearly every phase in some epoch"


def test_phases_are_close_to_uniform():
    lengths = np.arange(300, 340)
    starts = np.cumsum(lengths) - lengths
    phases = []
    for epoch in range(100):
        plan = training_plan(starts, lengths, 10, 1, order_seed=(3, epoch))
        first_chunks = plan.fresh[:, 0] & (plan.end[:, 0] > 0)
        phases += (plan.begin[first_chunks, 0]).tolist()
    counts = np.bincount(phases, minlength=10)
    assert counts.min() > 0.8 * counts.mean()
    assert counts.max() < 1.2 * counts.mean()


@pytest.mark.parametrize("length", [95, 100, 101, 109])
def test_the_phase_of_a_single_recording_changes_too(length):
    lengths = np.array([length])
    plans = [training_plan(np.array([0]), lengths, 10, 1, order_seed=(0, epoch)) for epoch in range(30)]
    assert len({int(plan.begin[0, 0]) for plan in plans}) > 3


def test_every_row_but_a_recordings_first_counts_in_some_epoch():
    lengths = np.array([300, 260, 410])
    starts = np.cumsum(lengths) - lengths
    counted = set()
    for epoch in range(12):
        counted |= set(
            follow(training_plan(starts, lengths, 20, 4, burn_in=30, order_seed=(0, epoch)), 20, lengths, 30)[1]
        )
    never = set(range(lengths.sum())) - counted
    assert never == {start + row for start in starts for row in range(30)}


def test_padding_is_a_small_part(lg_hg2):
    import pyarrow.parquet as pq

    lengths = np.array(
        [pq.ParquetFile(path).metadata.num_rows for path in sorted((lg_hg2 / "train").glob("*.parquet"))]
    )
    starts = np.cumsum(lengths) - lengths
    plan = training_plan(starts, lengths, 100, 16, order_seed=(0, 0))
    assert plan.fresh.size * 100 < 1.03 * lengths.sum()
    lengths = np.array([pq.ParquetFile(path).metadata.num_rows for path in sorted((lg_hg2 / "test").glob("*.parquet"))])
    starts = np.cumsum(lengths) - lengths
    plan = evaluation_plan(starts, lengths, 500, evaluation_lanes(lengths, 500, 16))
    assert plan.fresh.size * 500 < 1.15 * lengths.sum()


@pytest.mark.parametrize("most", [1, 3, 100])
def test_evaluation_lanes_are_not_more_than_the_longest_recording_leaves_busy(most):
    lengths = np.array([100, 30, 30, 40])
    assert evaluation_lanes(lengths, 10, most) == min(most, 2)
