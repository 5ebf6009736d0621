import numpy as np
import pytest

from vestim_pl.data.preparation import PreparationSettings, prepare_recording
from vestim_pl.data.preparation.resampling import resampled
from vestim_pl.data.preparation.state_of_charge import counted_charge


def test_faster_rows_are_averaged_which_keeps_the_charge(table):
    random = np.random.default_rng(0)
    current = random.normal(size=6000)
    fast = table(time=np.arange(6000) / 10, current=current, voltage=current + 3)
    slow, notes = resampled(fast, 1.0)
    assert slow["current"] == pytest.approx(current.reshape(600, 10).mean(axis=1))
    assert slow["voltage"] == pytest.approx(slow["current"] + 3)
    assert np.diff(slow["time"]) == pytest.approx(1.0)
    assert slow.rows is None
    assert counted_charge(slow)[-1] == pytest.approx(counted_charge(fast)[-1], abs=0.002)
    assert "1 s" in notes[0].text


def test_slower_rows_hold_the_current_and_interpolate_the_rest(table):
    fine, _ = resampled(table(time=[0.0, 4.0, 8.0], current=[-1.0, -2.0, -3.0], voltage=[4.0, 3.6, 3.2]), 2.0)
    assert fine["time"].tolist() == [0.0, 2.0, 4.0, 6.0, 8.0]
    assert fine["current"].tolist() == [-1.0, -1.0, -2.0, -2.0, -3.0]
    assert fine["voltage"] == pytest.approx([4.0, 3.8, 3.6, 3.4, 3.2])


def test_nothing_is_filled_across_a_gap(table):
    cut = table(
        starts=(0, 20), time=np.concatenate([np.arange(20) / 10, 100 + np.arange(20) / 10]), voltage=np.ones(40)
    )
    slow, _ = resampled(cut, 1.0)
    assert slow["time"].tolist() == [0.0, 1.0, 100.0, 101.0]
    assert slow.starts == (0, 2)


def test_an_interval_without_rows_is_filled_within_a_piece(table):
    time = np.delete(np.arange(60) / 10, slice(20, 40))
    slow, _ = resampled(table(time=time, current=np.where(time < 2, -1.0, -5.0), voltage=time), 1.0)
    assert slow["time"].tolist() == [0.0, 1.0, 2.0, 3.0, 4.0, 5.0]
    assert slow["current"].tolist() == [-1.0, -1.0, -1.0, -1.0, -5.0, -5.0]
    assert slow["voltage"][2:4] == pytest.approx([2.0, 3.0], abs=0.11)


def test_rows_at_that_interval_stay_bit_for_bit(table):
    jittered = table(time=[0.0, 1.01, 1.99, 3.0], voltage=[1.0, 2.0, 3.0, 4.0], state=["a", "b", "c", "d"])
    assert resampled(jittered, 1.0) == (jittered, [])
    assert resampled(jittered, None) == (jittered, [])


def test_a_last_interval_that_is_hardly_covered_is_left_out(table):
    assert len(resampled(table(time=np.arange(24) / 10, voltage=np.ones(24)), 1.0)[0]) == 2
    assert len(resampled(table(time=np.arange(26) / 10, voltage=np.ones(26)), 1.0)[0]) == 3


@pytest.mark.parametrize("name", ["us06_25degC", "us06_n20degC"])
def test_the_measured_originals_of_10_hz_equal_the_published_1_hz(lg_hg2, name):
    (ours,) = prepare_recording(
        lg_hg2 / "orig-10hz" / f"lg-hg2_{name}_orig.parquet", PreparationSettings(resample=1.0), voltage=True
    )
    (theirs,) = prepare_recording(lg_hg2 / "test" / f"lg-hg2_{name}.parquet", PreparationSettings(), voltage=True)
    assert ours.inputs.shape == theirs.inputs.shape
    assert np.array_equal(ours.time, theirs.time)
    assert np.abs(ours.inputs - theirs.inputs).max(axis=0) == pytest.approx([0, 0, 0], abs=4e-6)  # SOC, A, degC
    assert np.abs(ours.target - theirs.target).max() < 1e-6  # V
