"""What is packed into a report is what a browser gets out again; the browser's own reading is in test_in_browser.py."""

import base64
import zlib

import numpy as np
import pandas as pd
import pytest

from vestim_pl.reports.recording_traces import outside_spans, recording_traces, thinned


def unpack(recording):
    content, at, found = zlib.decompress(base64.b64decode(recording["data"])), 0, {}
    for column in recording["columns"]:
        rows, size = recording["kept"], column["bytes"]
        planes = np.frombuffer(content, np.uint8, rows * size, at).reshape(size, rows)
        changes = np.ascontiguousarray(planes.T).view(f"<u{size}").ravel()
        places = np.cumsum(changes.astype(np.uint64)) % 2 ** (8 * size)
        values = column["low"] + column["step"] * places
        found[column["name"]] = np.where((places == 0xFFFF) & (size == 2), np.nan, values)
        at += rows * size
    assert at == len(content)
    return found


def recording(rows, seed=0, start=0.0):
    generator = np.random.default_rng(seed)
    measured = 3.7 + np.cumsum(generator.normal(0, 2e-3, rows))
    error = 1e-2 * np.sin(np.arange(rows) / 30) + generator.normal(0, 2e-3, rows)
    frame = {"recording": "a", "time": start + np.arange(rows), "measured": measured, "estimated": measured + error}
    return pd.DataFrame(frame).assign(soc=np.linspace(1, 0.2, rows), current=generator.normal(-2, 3, rows))


def test_values_survive_within_their_resolution():
    steps = recording(5000, start=1.7e9).assign(
        lower_v=lambda f: f["estimated"] - 0.02, upper_v=lambda f: f["estimated"] + 0.03
    )
    steps.loc[40, "estimated"] = np.nan
    (packed,) = recording_traces(steps, ["a"])["recordings"]
    found = unpack(packed)
    assert (packed["rows"], packed["kept"]) == (5000, 5000)
    assert found["time"] == pytest.approx(steps["time"].to_numpy(), abs=1e-3)
    assert found["measured"] == pytest.approx(steps["measured"].to_numpy(), abs=3e-5)
    error = 1000 * (steps["estimated"] - steps["measured"]).to_numpy()
    assert np.flatnonzero(np.isnan(found["error.0"])).tolist() == [40]
    assert found["error.0"] == pytest.approx(error, abs=0.02, nan_ok=True)
    assert found["current"] == pytest.approx(steps["current"].to_numpy(), abs=1e-3)
    assert found["soc"] == pytest.approx(steps["soc"].to_numpy(), abs=1e-4)
    rest = np.arange(5000) != 40
    assert found["below.0"][rest] == pytest.approx(20.0, abs=0.02)
    assert found["above.0"][rest] == pytest.approx(30.0, abs=0.02)


def test_of_many_rows_extremes_stay_and_the_worst_minute_stays_whole():
    steps = recording(50_000)
    steps.loc[31_234, "estimated"] += 0.5
    (packed,) = recording_traces(steps, ["a"], rows_of_one=4000)["recordings"]
    found, error = unpack(packed), 1000 * (steps["estimated"] - steps["measured"]).to_numpy()
    assert packed["rows"] == 50_000
    assert packed["kept"] < 4200
    for name, values in (("measured", steps["measured"]), ("error.0", error)):
        assert found[name].min() == pytest.approx(values.min(), abs=0.02)
        assert found[name].max() == pytest.approx(values.max(), abs=0.02)
    worst = packed["worst"]
    assert worst["start"] <= 31_234 <= worst["end"]
    within = (found["time"] >= worst["start"] - 0.01) & (found["time"] <= worst["end"] + 0.01)
    assert within.sum() == 60


def test_all_recordings_together_keep_to_the_limit_and_none_is_left_out():
    names = [f"r{n}" for n in range(6)]
    steps = pd.concat([recording(8000, n).assign(recording=name) for n, name in enumerate(names)])
    whole = recording_traces(steps, names)["recordings"]
    small = recording_traces(steps, names, bytes_of_all=60_000)["recordings"]
    assert [each["name"] for each in small] == names
    assert sum(len(each["data"]) for each in small) <= 60_000 < sum(len(each["data"]) for each in whole)
    assert all(each["kept"] == 8000 for each in whole)


def test_checkpoints_that_score_other_rows_are_aligned_by_time():
    steps = recording(300)
    late = steps.iloc[50:].assign(estimated=steps["measured"] + 0.005, checkpoint="late")
    held = recording_traces(pd.concat([steps.assign(checkpoint="<early>"), late]), ["a"])
    found = unpack(held["recordings"][0])
    assert held["checkpoints"] == ["&lt;early&gt;", "late"]
    assert len(found["time"]) == 300
    assert np.isnan(found["error.1"][:50]).all()
    assert found["error.1"][50:] == pytest.approx(5.0, abs=0.02)


def test_the_unit_of_time_suits_the_length_and_unknown_names_are_left_out():
    steps = pd.concat([recording(200), recording(20_000).assign(recording="b")])
    found = recording_traces(steps, ["b", "gone", "a"])["recordings"]
    assert [(each["name"], each["unit"]) for each in found] == [("b", "h"), ("a", "s")]
    assert recording_traces(steps, ["gone"]) is None


def test_spans_outside_cover_every_such_row_also_when_there_are_many():
    outside = np.random.default_rng(0).random(5000) < 0.3
    spans = outside_spans(np.arange(5000.0), outside)
    assert len(spans) <= 200
    assert all(any(start <= row <= end for start, end in spans) for row in np.flatnonzero(outside))
    assert outside_spans(np.arange(3.0), np.zeros(3, bool)) == []


def test_a_signal_of_missing_values_is_thinned_too():
    rows = thinned([np.full(1000, np.nan), np.arange(1000.0)], 100, slice(0, 0))
    assert rows[[0, -1]].tolist() == [0, 999]
    assert len(rows) < 150
