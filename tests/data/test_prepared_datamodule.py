"""What a training found and prepared is kept, and applied again to other files."""

import logging

import numpy as np
import pandas as pd
import pytest
import torch

from vestim_pl.data import Columns, PreparationSettings, SocSource, SplitRules, VoltageDataModule, WindowSampling
from vestim_pl.data.preparation.preparing import prepare_recording
from vestim_pl.data.split_reader import demo_folder
from vestim_pl.errors import ConfigurationError, DataError
from vestim_pl.estimator import VoltageEstimator
from vestim_pl.networks import RCPairs

WINDOWS = WindowSampling(lookback=8, batch_size=16)
LSTM = {"name": "LSTM", "hidden_sizes": [4]}


@pytest.fixture
def fast(tmp_path):
    """Folder without subfolders, of two recordings of 10 Hz and one of 5 Hz, in the units of their names."""
    frame = pd.read_parquet(demo_folder() / "val" / "mixed2_25degC.parquet").head(400)
    for name, interval, rows in (
        ("LA92", 0.1, slice(0, 200)),
        ("US06", 0.1, slice(200, 400)),
        ("UDDS", 0.2, slice(100, 300)),
    ):
        part = frame[rows].reset_index(drop=True)
        part = part.loc[part.index.repeat(round(1 / interval))].reset_index(drop=True)
        table = pd.DataFrame({"t [ms]": 1000 * interval * np.arange(len(part)), "I [mA]": 1000 * part["Current"]})
        table.assign(U=part["Voltage"], Temp=part["Temp"], SOC=part["SOC"]).to_csv(
            tmp_path / f"{name}.csv", index=False
        )
    return tmp_path


def module(root, **options):
    rules = SplitRules(test="*LA92*", val="*US06*")
    return VoltageDataModule(root, WINDOWS, split=rules, columns=Columns(voltage="U"), **options)


def trained(data):
    pairs = data.rc_pairs.options if data.rc_pairs else None
    return VoltageEstimator(data.features, LSTM, rc_pairs=pairs, preparation=data.preparation.to_dict())


def test_one_folder_of_other_units_and_rates_is_split_converted_and_resampled(fast):
    with pytest.raises(
        DataError, match=r"UDDS\.csv: rows are 0\.2 s apart, those of most .* 0\.1 s; set data\.resample=0\.2"
    ):
        module(fast).setup()
    data = module(fast, resample=1.0)
    data.setup()
    assert {split: data.table(split).names for split in data.splits} == {
        "train": ("UDDS",),
        "val": ("US06",),
        "test": ("LA92",),
    }
    assert [data.table(split).rows for split in data.splits] == [200, 200, 200]
    frame = pd.read_parquet(demo_folder() / "val" / "mixed2_25degC.parquet")
    assert data.table("test").target.numpy() == pytest.approx(frame["Voltage"][:200].to_numpy(), abs=1e-5)
    assert data.table("test").inputs[:, 1].numpy() == pytest.approx(frame["Current"][:200].to_numpy(), abs=1e-4)
    described = data.describe()
    assert described.count("1 s") == 4, "three splits, and the note of the resampling"
    assert "current: 'I [mA]' is in mA as the file says, converted to A (all files)" in described


def test_mapped_rows_are_the_same_and_say_the_same(fast, tmp_path):
    memory = module(fast, resample=1.0)
    for _ in range(2):  # written, then opened again
        mapped = module(fast, resample=1.0, storage="mapped", cache=tmp_path / "cache")
        assert torch.equal(mapped.table("train").inputs, memory.table("train").inputs)
        assert mapped.describe() == memory.describe()
        assert mapped.interval == 1.0


def test_a_checkpoint_prepares_other_files_as_its_training_did(fast):
    data = module(fast, resample=1.0, derived={"Slow": "low_pass(current, 20)"}, rc_pairs=[5.0, 50.0])
    data.setup()
    estimator = trained(data)
    assert estimator.interval == 1.0
    again = VoltageDataModule(
        fast, WINDOWS, split=SplitRules(test="*"), splits=["test"],
        trained=PreparationSettings.of_estimator(estimator.hparams), trained_pairs=estimator.rc_pairs,
    )  # fmt: skip
    table = again.table("test")
    assert table.names == ("LA92", "UDDS", "US06")
    assert torch.equal(table.inputs[table.recording("UDDS")], data.table("train").inputs)
    (prepared,) = prepare_recording(fast / "UDDS.csv", PreparationSettings.of_estimator(estimator.hparams))
    assert np.array_equal(prepared.inputs, data.table("train").inputs[:, :4].numpy())


def test_a_checkpoint_refuses_another_interval(fast):
    estimator = trained(VoltageDataModule(demo_folder(), WINDOWS, splits=["val"]))
    assert estimator.interval is None, "nothing was read"
    data = VoltageDataModule(demo_folder(), WINDOWS, splits=["val"])
    data.setup()
    other = VoltageDataModule(
        fast, WINDOWS, split=SplitRules(test="*LA92*"), splits=["test"], columns=Columns(voltage="U"),
        trained=PreparationSettings.of_estimator(trained(data).hparams),
    )  # fmt: skip
    with pytest.raises(DataError, match=r"LA92\.csv: rows are 0\.1 s apart, but the checkpoint was trained with 1 s"):
        other.setup()


def test_rc_pairs_are_in_seconds_whatever_the_interval(fast):
    slow = module(fast, resample=1.0, rc_pairs=[5.0, 50.0])
    fine = module(fast, resample=0.5, rc_pairs=[5.0, 50.0])
    for data, steps in ((slow, [5.0, 50.0]), (fine, [10.0, 100.0])):
        data.setup()
        assert data.rc_pairs.options["steps"] == steps
    ends = [data.table("test").inputs[-1, 3:] for data in (slow, fine)]
    assert ends[0].numpy() == pytest.approx(ends[1].numpy(), rel=0.1, abs=0.05)


def test_rc_pairs_shorter_than_the_interval_are_refused(fast):
    with pytest.raises(ConfigurationError, match=r"data\.rc_pairs"):
        module(fast, resample=10.0, rc_pairs=[5.0, 50.0]).setup()


def test_rc_pairs_of_an_old_checkpoint_stay_in_rows(fast):
    pairs = RCPairs(["SOC", "Current", "Temp"], steps=[5, 50])
    old = VoltageEstimator(["SOC", "Current", "Temp"], LSTM, rc_pairs=pairs.options)
    data = module(fast, resample=1.0, trained=PreparationSettings.of_estimator(old.hparams), trained_pairs=old.rc_pairs)
    data.setup()
    assert data.rc_pairs.options == pairs.options
    assert data.table("test").features == 5


def test_a_resumed_run_refuses_another_interval(folder):
    data = VoltageDataModule(folder, WINDOWS)
    data.setup()
    data.load_state_dict({"train": {"epoch": 0, "batch": 0, "batches": 6}, "interval": 1.0})
    with pytest.raises(ConfigurationError, match=r"ckpt_path: rows are 1 s apart, but the checkpoint .* 0\.1 s"):
        data.load_state_dict({"train": {"epoch": 0, "batch": 0, "batches": 6}, "interval": 0.1})


def test_gaps_make_recordings_and_parts_that_are_too_short_are_left_out(folder):
    path = folder / "train" / "a.parquet"
    frame = pd.read_parquet(path)
    frame.loc[15:, "Time"] += 3600
    frame.loc[36:, "Time"] += 3600
    frame.to_parquet(path)
    data = VoltageDataModule(folder, WINDOWS)
    table = data.table("train")
    assert table.names == ("a", "a.part2", "b", "c")
    assert table.lengths.tolist() == [15, 21, 33, 21]
    assert "parts shorter than the 8 rows that sampling.lookback=8 needs (4 times, 1 file)" in data.describe()


def test_soc_is_counted_where_there_is_none(folder):
    for path in folder.rglob("*.parquet"):
        pd.read_parquet(path).drop(columns="SOC").to_parquet(path)
    with pytest.raises(DataError, match=r"'SOC' is missing.*data\.soc\.capacity_ah=3"):
        VoltageDataModule(folder, WINDOWS).setup()
    data = VoltageDataModule(folder, WINDOWS, soc=SocSource(capacity_ah=3.0, initial=0.5))
    assert data.table("train").inputs[0, 0] == 0.5
    assert "with 3 Ah (data.soc) (all files)" in data.describe()


def test_a_formula_with_the_voltage_of_the_same_row_is_refused():
    with pytest.raises(
        ConfigurationError, match=r"data\.derived: a formula has the voltage to estimate, from the same row"
    ):
        VoltageDataModule(sampling=WINDOWS, derived={"Power": "current * voltage"})
    VoltageDataModule(sampling=WindowSampling(lookback=8, horizon=1), derived={"Power": "current * voltage"})


def test_doubtful_values_are_warnings_where_they_are_asked_for(folder, caplog):
    path = folder / "test" / "e.parquet"
    pd.read_parquet(path).assign(Temp=300.0).to_parquet(path)
    with pytest.raises(DataError, match=r"^test/e\.parquet: the temperature is from 300 to 300 degC, so it is in K"):
        VoltageDataModule(folder, WINDOWS).setup()
    with caplog.at_level(logging.WARNING, logger="vestim_pl"):
        VoltageDataModule(folder, WINDOWS, checks="warn").setup()
    assert [record.message for record in caplog.records if "so it is in K" in record.message]
