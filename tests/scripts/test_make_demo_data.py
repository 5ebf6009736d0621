"""The script that makes the demo data: driving, vehicle, tester; and the simulated cell where PyBaMM is installed."""

import importlib.util
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

SCRIPTS = Path(__file__).parents[2] / "scripts"
sys.path.insert(0, str(SCRIPTS))

from demo_data import cell, driving, plan, tester, vehicle  # noqa: E402

CAPACITY_AH = 5.0


def drive_of(character: plan.Character, seconds: int = 1200, seed: int = 0) -> driving.Drive:
    return driving.make_drive(np.random.default_rng(seed), character, seconds)


def steady(speed_mps: float, seconds: int = 60) -> driving.Drive:
    still = np.zeros(seconds)
    return driving.Drive(np.full(seconds, speed_mps), slope=still, parked=np.zeros(seconds, dtype=bool))


class TestPlan:
    def test_no_trip_is_planned_twice_and_each_split_has_some(self):
        names = [trip.name for trip in plan.TRIPS]
        assert len(set(names)) == len(names)
        assert {trip.split for trip in plan.TRIPS} == set(plan.Split)

    def test_names_carry_the_temperature(self):
        trip = plan.Trip(plan.Character.URBAN, 3, plan.Split.TEST, 0.5, 10)
        assert [plan.recording_name(trip, degc) for degc in (-10, 0, 25)] == [
            "urban3_n10degC",
            "urban3_0degC",
            "urban3_25degC",
        ]

    def test_a_name_has_its_own_random_stream(self):
        first, again, other, reseeded = (
            plan.trip_rng(seed, name).random() for seed, name in ((1, "a"), (1, "a"), (1, "b"), (2, "a"))
        )
        assert first == again
        assert len({first, other, reseeded}) == 3


@pytest.mark.parametrize("character", list(plan.Character))
class TestDriving:
    def test_same_seed_same_drive(self, character: plan.Character):
        first, again, other = drive_of(character), drive_of(character), drive_of(character, seed=1)
        np.testing.assert_array_equal(first.speed_mps, again.speed_mps)
        np.testing.assert_array_equal(first.slope, again.slope)
        assert not np.array_equal(first.speed_mps, other.speed_mps)

    @pytest.mark.parametrize("seconds", [600, 1201])
    def test_has_the_asked_length_and_rests_at_both_ends(self, character: plan.Character, seconds: int):
        drive = drive_of(character, seconds)
        assert drive.speed_mps.shape == drive.slope.shape == drive.parked.shape == (seconds,)
        assert drive.parked[:20].all()
        assert drive.parked[-90:].all()

    @pytest.mark.parametrize("seed", range(5))
    def test_moves_as_a_car_does(self, character: plan.Character, seed: int):
        drive = drive_of(character, seed=seed)
        assert drive.speed_mps.min() >= 0
        assert drive.speed_mps.max() < 45
        assert np.abs(np.diff(drive.speed_mps)).max() < 7
        assert np.abs(drive.slope).max() <= 0.05
        assert drive.speed_mps[drive.parked].max() < 1.0  # the last metre may be smoothed into the pause


def test_characters_differ_in_speed_and_in_haste():
    drives = {name: drive_of(name, 3600) for name in driving.STYLES}
    speed = {name: drive.speed_mps[drive.speed_mps > 1].mean() * 3.6 for name, drive in drives.items()}
    haste = {name: np.diff(drive.speed_mps).std() for name, drive in drives.items()}
    urban, highway, aggressive = plan.Character.URBAN, plan.Character.HIGHWAY, plan.Character.AGGRESSIVE
    assert speed[urban] < 50 < 80 < speed[highway]
    assert haste[aggressive] > 1.5 * max(haste[urban], haste[highway])


class TestVehicle:
    def test_driving_discharges_and_faster_costs_more(self):
        slow, fast = (vehicle.cell_power(steady(speed), 20).mean() for speed in (10, 30))
        assert fast < slow < 0

    def test_braking_charges_but_not_at_walking_pace(self):
        braking = replace(steady(0.0, 40), speed_mps=np.linspace(20, 0, 40))
        power = vehicle.cell_power(braking, 20)
        assert power[5:20].min() > 0
        assert power[-2] < 0

    def test_climbing_costs_and_parking_is_free(self):
        flat = steady(15.0)
        uphill, parked = replace(flat, slope=np.full(60, 0.05)), replace(flat, parked=np.ones(60, dtype=bool))
        assert vehicle.cell_power(uphill, 20).mean() < vehicle.cell_power(flat, 20).mean()
        assert not vehicle.cell_power(parked, 20).any()

    def test_the_cabin_draws_more_in_the_cold_and_in_the_heat(self):
        cold, mild, hot = (vehicle.auxiliary_power(degc) for degc in (-10, 20, 40))
        assert cold > mild < hot

    @pytest.mark.parametrize("ambient_degc", plan.AMBIENTS_DEGC)
    def test_current_stays_within_the_limits(self, ambient_degc: int):
        power = np.random.default_rng(0).uniform(-120, 120, 2000)
        current = vehicle.cell_current(power, ambient_degc, 0.6, CAPACITY_AH)
        assert current.min() >= -vehicle.discharge_limit(ambient_degc)
        assert current.max() <= vehicle.charge_limit(ambient_degc)

    def test_current_delivers_the_power_at_the_estimated_voltage(self):
        current = vehicle.cell_current(np.array([-20.0]), 25, 0.5, CAPACITY_AH)
        voltage = 3.69 + current * vehicle.estimated_resistance(25)
        assert current * voltage == pytest.approx(-20.0)

    def test_nothing_is_charged_into_a_full_cell_nor_drawn_from_an_empty_one(self):
        assert vehicle.cell_current(np.array([50.0]), 25, 1.0, CAPACITY_AH)[0] == 0
        assert vehicle.cell_current(np.array([-50.0]), 25, 0.0, CAPACITY_AH)[0] == 0

    def test_limits_are_tighter_in_the_cold_and_resistance_is_larger(self):
        assert vehicle.charge_limit(-10) < vehicle.charge_limit(25)
        assert vehicle.discharge_limit(-10) < vehicle.discharge_limit(25)
        assert vehicle.estimated_resistance(-10) > 2 * vehicle.estimated_resistance(25)


class TestTester:
    def test_an_hour_at_the_capacity_empties_the_cell(self):
        soc = tester.count_charge(np.full(3601, -CAPACITY_AH), 1.0, CAPACITY_AH)
        assert soc[0] == 1.0
        assert soc[-1] == pytest.approx(0.0, abs=1e-12)

    def test_record_is_quantised_float32_and_repeatable(self):
        signals = [np.linspace(0, 1, 500) + offset for offset in (-3.0, 3.0, 20.0, 0.0)]
        first, again = (tester.record(np.random.default_rng(7), *signals) for _ in range(2))
        assert tuple(first) == tester.COLUMNS
        for name, values in first.items():
            assert values.dtype == np.float32
            np.testing.assert_array_equal(values, again[name])
            steps = values.astype(float) / tester.RESOLUTION.get(name, 1.0)
            np.testing.assert_allclose(steps, np.round(steps), atol=0.01)

    def test_noise_has_the_stated_size_and_no_bias(self):
        truth = [np.full(20_000, value) for value in (-2.0, 3.7, 25.0, 0.5)]
        columns = tester.record(np.random.default_rng(0), *truth)
        for name, true in (("Current", -2.0), ("Voltage", 3.7), ("Temp", 25.0)):
            error = columns[name].astype(float) - true
            expected = np.hypot(tester.NOISE[name], tester.RESOLUTION[name] / np.sqrt(12))
            assert error.std() == pytest.approx(expected, rel=0.35)
            assert abs(error.mean()) < 0.05 * tester.RESOLUTION[name] + 1e-6

    def test_a_written_recording_reads_back_exactly(self, tmp_path: Path):
        columns = tester.record(np.random.default_rng(1), *(np.linspace(0, 1, 300) for _ in range(4)))
        tester.write_recording(tmp_path / "train" / "x.parquet", columns, {"source": "simulated"})
        table = pq.read_table(tmp_path / "train" / "x.parquet")
        assert table.schema.metadata[b"source"] == b"simulated"
        for name in tester.COLUMNS:
            np.testing.assert_array_equal(table[name].to_numpy(), columns[name])


def test_command_explains_itself(capsys: pytest.CaptureFixture[str]):
    spec = importlib.util.spec_from_file_location("make_demo_data", SCRIPTS / "make_demo_data.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    with pytest.raises(SystemExit, match="0"):
        module.main(["--help"])
    assert "--out" in capsys.readouterr().out


def test_simulated_cell_sags_under_load_and_recovers():
    pytest.importorskip("pybamm")
    current = np.concatenate([np.zeros(5), np.full(20, -5.0), np.zeros(30)])
    trace = cell.simulate(current, 25.0, 0.5, 4.93)
    assert not trace.reached_cutoff
    assert len(trace.voltage) == len(current)
    assert trace.voltage[4] > trace.voltage[-1] > trace.voltage[24]
    assert 0.04 < trace.voltage[4] - trace.voltage[24] < 0.3
    assert trace.temp_degc[24] > trace.temp_degc[0] == pytest.approx(25.0)
