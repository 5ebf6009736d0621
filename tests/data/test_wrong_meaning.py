"""Whatever file of a folder means something else, the folder is refused, and what is right is not."""

import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from vestim_pl.data import PreparationSettings
from vestim_pl.data.preparation.meaning.agreement import disagreements
from vestim_pl.data.preparation.preparing import prepare_file
from vestim_pl.data.split_reader import SplitReader, demo_folder
from vestim_pl.errors import DataError

FAULTS = {
    "sign": {"Current": lambda x: -x},
    "per cent": {"SOC": lambda x: x * 100},
    "kelvin": {"Temp": lambda x: x + 273.15},
    "milliseconds": {"Time": lambda x: x * 1000},
    "hours": {"Time": lambda x: x / 3600},
    "minutes": {"Time": lambda x: x / 60},
    "millivolts": {"Voltage": lambda x: x * 1000},
    "milliamperes": {"Current": lambda x: x * 1000},
    "another rate": {"Time": lambda x: x / 10},
}
FILES = sorted(demo_folder().rglob("*.parquet"))


@pytest.fixture(scope="module")
def others():
    """What the sound recordings of the demo data show."""
    prepared = {path.stem: prepare_file(path, PreparationSettings(), path.stem) for path in FILES}
    assert all(not file.warnings and not file.notes for file in prepared.values()), "no false alarm"
    return {name: (file.evidence, file.interval) for name, file in prepared.items()}


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(path=st.sampled_from(FILES), fault=st.sampled_from(sorted(FAULTS)))
def test_a_fault_in_any_single_file_is_refused(others, path, fault):
    frame = pd.read_parquet(path).astype(np.float64)
    frame = frame.assign(**{name: spoil(frame[name]) for name, spoil in FAULTS[fault].items()})
    try:
        file = prepare_file(frame, PreparationSettings(), path.stem)
    except DataError:
        return
    evidence = {name: each for name, (each, _) in others.items()} | {path.stem: file.evidence}
    intervals = {name: interval for name, (_, interval) in others.items()} | {path.stem: file.interval}
    assert list(disagreements(evidence, intervals)) == [path.stem]


@pytest.mark.parametrize("fault", ["sign", "another rate"])
def test_a_folder_with_one_such_file_is_refused_or_left_out(tmp_path, fault):
    root = tmp_path / "demo"
    for split, name in (("train", "mixed1"), ("train", "highway1"), ("val", "mixed2"), ("test", "mixed4")):
        (root / split).mkdir(parents=True, exist_ok=True)
        shutil.copy(demo_folder() / split / f"{name}_25degC.parquet", root / split)
    bad = root / "train" / "mixed1_25degC.parquet"
    frame = pd.read_parquet(bad)
    frame.assign(**{name: spoil(frame[name]) for name, spoil in FAULTS[fault].items()}).to_parquet(bad)
    with pytest.raises(DataError, match=r"^train/mixed1_25degC\.parquet: .*; set data\.[a-z_]+="):
        SplitReader(root).read(("train", "val", "test"))
    skipping = SplitReader(root, skip=True)
    tables = skipping.read(("train", "val", "test"))
    assert tables["train"].names == ("highway1_25degC",)
    assert list(skipping.found.skipped) == ["train/mixed1_25degC.parquet"]
    warned = SplitReader(root, PreparationSettings(checks="warn"))
    warned.read(("train", "val", "test"))
    assert any("mixed1_25degC" in warning for warning in warned.found.warnings)


def test_the_measured_recordings_raise_no_false_alarm(lg_hg2: Path):
    reader = SplitReader(lg_hg2)
    tables = reader.read(("train", "val", "test"))
    assert sum(len(table.names) for table in tables.values()) == 63
    assert (reader.found.warnings, reader.found.notes, reader.found.interval) == ([], [], 1.0)
