"""What a user relies on in the demo data that ships with the package, asserted on the files themselves."""

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

ROOT = Path(__file__).parents[2]
DEMO = ROOT / "vestim_pl" / "data" / "demo"
sys.path.insert(0, str(ROOT / "scripts"))

from demo_data import card, plan, tester  # noqa: E402

AMBIENTS_DEGC = [-10, 0, 10, 25, 40]
CHARACTERS = {"urban", "highway", "aggressive", "mixed"}


@dataclass
class Recording:
    """A file, and what its name says."""

    path: Path
    data: pd.DataFrame

    @property
    def trip(self) -> str:
        return self.path.stem.split("_")[0]

    @property
    def character(self) -> str:
        return self.trip.rstrip("0123456789")

    @property
    def ambient_degc(self) -> int:
        return int(self.path.stem.split("_")[1].removesuffix("degC").replace("n", "-"))

    @property
    def split(self) -> str:
        return self.path.parent.name


@pytest.fixture(scope="module")
def recordings() -> list[Recording]:
    return [Recording(path, pd.read_parquet(path)) for path in sorted(DEMO.glob("*/*.parquet"))]


def rests(data: pd.DataFrame, seconds: int) -> Iterator[slice]:
    """Yield every stretch without current that lasts at least so long."""
    still = (data["Current"].abs() < 0.03).to_numpy().astype(int)
    edges = np.flatnonzero(np.diff(np.concatenate([[0], still, [0]])))
    for start, end in zip(edges[::2], edges[1::2], strict=True):
        if end - start >= seconds:
            yield slice(start, end)


def step_resistance_mohm(data: pd.DataFrame) -> float:
    """Return the voltage step per current step from one second to the next, least squares over the recording."""
    current, voltage = np.diff(data["Current"].astype(float)), np.diff(data["Voltage"].astype(float))
    large = np.abs(current) > 0.5
    return float(1e3 * (current[large] @ voltage[large]) / (current[large] @ current[large]))


class TestFolder:
    def test_is_small_enough_to_ship(self):
        assert sum(path.stat().st_size for path in DEMO.glob("**/*") if path.is_file()) <= 2.5e6

    def test_holds_the_planned_recordings_and_nothing_else(self, recordings: list[Recording]):
        planned = {
            (trip.split.value, plan.recording_name(trip, degc)) for trip in plan.TRIPS for degc in plan.AMBIENTS_DEGC
        }
        assert {(recording.split, recording.path.stem) for recording in recordings} == planned
        assert {path.name for path in DEMO.iterdir()} == {"README.md", "train", "val", "test"}

    def test_lasts_between_20_and_30_hours_most_of_it_for_training(self, recordings: list[Recording]):
        hours = pd.Series([len(recording.data) / 3600 for recording in recordings])
        by_split = hours.groupby([recording.split for recording in recordings]).sum()
        assert 20 <= hours.sum() <= 30
        assert by_split["train"] > 0.55 * hours.sum()
        assert by_split[["val", "test"]].min() >= 2

    def test_no_trip_is_in_two_splits(self, recordings: list[Recording]):
        splits = pd.DataFrame([(recording.trip, recording.split) for recording in recordings]).groupby(0)[1].nunique()
        assert (splits == 1).all()

    def test_no_current_is_driven_in_two_splits(self, recordings: list[Recording]):
        currents = [(recording.split, recording.data["Current"].to_numpy()[:1000]) for recording in recordings]
        for split, current in currents:
            for other_split, other in currents:
                if split != other_split:
                    length = min(len(current), len(other))
                    assert np.corrcoef(current[:length], other[:length])[0, 1] < 0.7

    def test_every_trip_is_driven_at_five_temperatures(self, recordings: list[Recording]):
        for trip in {recording.trip for recording in recordings}:
            assert sorted(r.ambient_degc for r in recordings if r.trip == trip) == AMBIENTS_DEGC

    def test_train_and_test_hold_all_characters(self, recordings: list[Recording]):
        for split in ("train", "test"):
            assert {recording.character for recording in recordings if recording.split == split} == CHARACTERS

    def test_test_and_val_stay_within_the_range_of_train(self, recordings: list[Recording]):
        tolerance = pd.Series({"Current": 0.02, "Voltage": 0.002, "Temp": 0.2, "SOC": 0.0})
        train = pd.concat([recording.data for recording in recordings if recording.split == "train"])
        low, high = train.min()[tolerance.index] - tolerance, train.max()[tolerance.index] + tolerance
        for recording in recordings:
            assert (recording.data.min()[tolerance.index] >= low).all(), recording.path
            assert (recording.data.max()[tolerance.index] <= high).all(), recording.path

    def test_the_card_shows_the_files_as_they_are(self):
        assert card.tables(DEMO) in (DEMO / "README.md").read_text(encoding="utf-8")


class TestRecording:
    def test_columns_types_and_clean_values(self, recordings: list[Recording]):
        for recording in recordings:
            assert tuple(recording.data.columns) == tester.COLUMNS
            assert (recording.data.dtypes == np.float32).all()
            assert np.isfinite(recording.data.to_numpy()).all()

    def test_time_counts_seconds_from_zero(self, recordings: list[Recording]):
        for recording in recordings:
            np.testing.assert_array_equal(recording.data["Time"], np.arange(len(recording.data), dtype=np.float32))
            assert len(recording.data) >= 600, recording.path

    def test_values_are_those_of_the_cell(self, recordings: list[Recording]):
        for recording in recordings:
            data = recording.data
            assert data["Voltage"].between(2.498, 4.205).all(), recording.path
            assert data["Current"].between(-18, 9).all(), recording.path
            assert data["SOC"].between(0, 1).all(), recording.path
            rise = data["Temp"] - recording.ambient_degc
            assert rise.between(-1, 16).all(), recording.path

    def test_soc_is_the_current_integrated(self, recordings: list[Recording]):
        for recording in recordings:
            capacity_ah = float(pq.read_schema(recording.path).metadata[b"capacity_ah"])
            data = recording.data.astype(float)
            counted = tester.count_charge(data["Current"].to_numpy(), data["SOC"].iloc[0], capacity_ah)
            assert np.abs(counted - data["SOC"]).max() < 1e-4, recording.path

    def test_discharge_is_negative_and_there_is_some_charge(self, recordings: list[Recording]):
        for recording in recordings:
            current, soc = recording.data["Current"], recording.data["SOC"]
            assert current.mean() < -0.2
            assert current.max() > 0.2
            assert soc.iloc[-1] < soc.iloc[0]

    def test_files_say_that_they_are_simulated(self, recordings: list[Recording]):
        for recording in recordings:
            assert pq.read_schema(recording.path).metadata[b"source"].startswith(b"simulated")


class TestPhysics:
    def test_voltage_is_lower_under_load(self, recordings: list[Recording]):
        for recording in recordings:
            data = recording.data
            rested = data["Voltage"].iloc[:15].mean()
            assert data.loc[data["Current"] < -3, "Voltage"].max() < rested
            assert np.corrcoef(np.diff(data["Current"]), np.diff(data["Voltage"]))[0, 1] > 0.8, recording.path

    def test_voltage_relaxes_upwards_in_most_rests_after_driving(self, recordings: list[Recording]):
        rises = [
            recording.data["Voltage"].to_numpy()[rest][-5:].mean()
            - recording.data["Voltage"].to_numpy()[rest][3:8].mean()
            for recording in recordings
            for rest in rests(recording.data, 60)
            if rest.start > 0
        ]
        assert len(rises) > 100
        assert np.median(rises) > 0.003
        assert np.mean(np.array(rises) > 0) > 0.9

    def test_resistance_grows_in_the_cold(self, recordings: list[Recording]):
        for trip in {recording.trip for recording in recordings}:
            by_degc = {r.ambient_degc: step_resistance_mohm(r.data) for r in recordings if r.trip == trip}
            values = [by_degc[degc] for degc in AMBIENTS_DEGC]
            assert values == sorted(values, reverse=True), trip
            assert 2 < values[0] / values[3] < 8, trip
            assert 5 < values[3] < 40, trip

    def test_cell_warms_with_the_load_and_more_in_the_cold(self, recordings: list[Recording]):
        rise = {(r.trip, r.ambient_degc): (r.data["Temp"] - r.ambient_degc).mean() for r in recordings}
        for degc in AMBIENTS_DEGC:
            assert rise["aggressive1", degc] > 2 * rise["urban1", degc] > 0
        for trip in {recording.trip for recording in recordings}:
            assert rise[trip, -10] > rise[trip, 40]

    def test_less_is_charged_in_the_cold(self, recordings: list[Recording]):
        peaks = {
            degc: max(r.data["Current"].max() for r in recordings if r.ambient_degc == degc) for degc in AMBIENTS_DEGC
        }
        assert peaks[-10] < peaks[0] < peaks[10] < peaks[25]
