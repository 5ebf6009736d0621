import numpy as np
import torch

from vestim_pl.data import RecordingTable
from vestim_pl.diagnosis.checks.sampling_interval import check_sampling_interval


def table(**times: np.ndarray) -> RecordingTable:
    rows = [len(time) for time in times.values()]
    return RecordingTable.of(
        list(times), [torch.zeros(n, 1) for n in rows], [torch.zeros(n) for n in rows], list(times.values())
    )


def test_a_gap_is_found_where_it_is():
    time = np.arange(100.0)
    time[40:] += 6.0
    finding = check_sampling_interval({"train": table(a=np.arange(50.0)), "val": table(b=time)})
    assert finding.severity == "warning"
    assert "1 of 148 intervals (0.68 %) is not the usual 1 s" in finding.evidence
    assert "the largest is 7 s, in val/b after 39 s" in finding.evidence


def test_a_recording_at_another_rate_is_found():
    finding = check_sampling_interval({"train": table(a=np.arange(100.0), b=np.arange(10.0) / 10)})
    assert finding.severity == "warning"
    assert "9 of 108 intervals" in finding.evidence
    assert "the smallest is 0.1 s, in train/b" in finding.evidence


def test_one_gap_in_thousands_is_a_note():
    time = np.arange(5000.0)
    time[40:] += 6.0
    assert check_sampling_interval({"train": table(a=time)}).severity == "note"


def test_a_fixed_rate_is_as_it_should_be_and_the_step_between_recordings_is_no_gap():
    times = {"a": np.arange(50.0), "b": 1e6 + np.arange(50.0)}
    finding = check_sampling_interval({"train": table(**times)})
    assert (finding.severity, finding.evidence) == ("ok", "all 98 intervals are 1 s")
    jitter = np.arange(50.0) + 0.02 * (np.arange(50) % 2)
    assert check_sampling_interval({"train": table(a=jitter)}).severity == "ok"
