import numpy as np

from vestim_pl.data.indexing.lane_plans import training_plan
from vestim_pl.data.indexing.stream_plan import build_plan, stream_step


def one(offset, reset=0, active=True, length=10, chunk=4, burn_in=0):
    array = lambda value: np.array([[value]])
    plan = build_plan(
        array(100), array(length), array(offset), array(reset), array(offset <= 0), array(active), chunk, burn_in
    )
    return stream_step(plan, 0, chunk)


def test_a_chunk_inside_a_recording_is_all_rows():
    step = one(offset=4)
    assert step.rows.tolist() == [[104, 105, 106, 107]]
    assert step.weight.tolist() == [[1, 1, 1, 1]]
    assert step.valid.all()
    assert not step.fresh.any()
    assert step.first_row.tolist() == [104]


def test_a_short_tail_repeats_the_last_row_without_weight():
    step = one(offset=8)
    assert step.rows.tolist() == [[108, 109, 109, 109]]
    assert step.weight.tolist() == [[1, 1, 0, 0]]


def test_a_late_phase_repeats_the_first_row_in_front_without_weight():
    step = one(offset=-3)
    assert step.rows.tolist() == [[100, 100, 100, 100]]
    assert step.weight.tolist() == [[0, 0, 0, 1]]
    assert step.first_row.tolist() == [100]
    assert step.fresh.all()


def test_burn_in_runs_over_chunks_and_counts_from_the_reset():
    assert one(offset=0, burn_in=5).weight.tolist() == [[0, 0, 0, 0]]
    assert one(offset=4, burn_in=5).weight.tolist() == [[0, 1, 1, 1]]
    assert one(offset=4, reset=4, burn_in=1).weight.tolist() == [[0, 1, 1, 1]]
    assert one(offset=4, burn_in=5).valid.all()


def test_an_empty_lane_has_finite_rows_and_no_weight():
    step = one(offset=8, active=False)
    assert step.rows.tolist() == [[109, 109, 109, 109]]
    assert step.weight.tolist() == [[0, 0, 0, 0]]
    assert step.fresh.all()
    assert step.first_row.tolist() == [-1]
    assert not step.valid.any()


def test_a_step_may_be_changed_without_changing_the_plan():
    plan = training_plan(np.array([0]), np.array([10]), 4, 1)
    step = stream_step(plan, 1, 4)
    step.fresh[:] = True
    assert not plan.fresh[1, 0]


def test_rows_beyond_32_bits():
    plan = training_plan(np.array([0, 2**33]), np.array([4, 4]), 4, 2)
    assert stream_step(plan, 0, 4).rows[1].tolist() == [2**33 + step for step in range(4)]
