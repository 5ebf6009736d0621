import os

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from tests.composing import compose
from tests.inspection.conftest import digatron
from vestim_pl.app.given_data import GivenData
from vestim_pl.data.split_reader import SplitReader
from vestim_pl.errors import ConfigurationError
from vestim_pl.inspection.prepared_files import refuse_overlap
from vestim_pl.inspection.prepared_folder import prepare_folder
from vestim_pl.train import train

SPLITS = ("train", "val", "test")


@pytest.fixture
def source(tmp_path, drive):
    """Folder of Digatron files at 10 Hz, one with a gap."""
    root = tmp_path / "as it came"
    for number, name in enumerate(("train/a", "train/b", "val/c", "test/d")):
        frame = drive(3000, seed=number, interval=0.1)
        if name == "test/d":
            frame.loc[2000:, "Time"] += 5000.0
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        digatron(frame, root / f"{name}.csv")
    return root


SETTINGS = ["data.soc.capacity_ah=3", "data.soc.initial=0.9", "data.resample=1"]


def prepared(source, target, *overrides):
    return prepare_folder(source, target, GivenData(source, overrides).settings(()))


def test_the_parquet_gives_the_rows_that_the_source_gives(source, tmp_path):
    folder = prepared(source, tmp_path / "out", *SETTINGS)
    assert not folder.failed
    assert not folder.warnings
    direct = SplitReader(source, GivenData(source, SETTINGS).settings(())).read(SPLITS)
    written = SplitReader(tmp_path / "out").read(SPLITS)
    for split in SPLITS:
        assert written[split].names == direct[split].names
        assert np.array_equal(written[split].inputs, direct[split].inputs)
        assert np.array_equal(written[split].target, direct[split].target)
        np.testing.assert_allclose(written[split].time, direct[split].time)
    assert written["test"].names == ("d", "d.part2")


def test_the_command_of_the_summary_trains_without_settings(source, tmp_path):
    folder = prepared(source, tmp_path / "out", *SETTINGS)
    words = folder.command.split("vestim_pl.train ")[1].split()
    assert words == ["data=folder", f"data.root={tmp_path / 'out'}", "+preset=fast"]
    run = train(compose(*words, "+trainer.fast_dev_run=true", f"run_dir={tmp_path / 'run'}"))
    assert run.datamodule.interval == 1.0


def test_each_file_has_a_page_and_pages_are_no_recordings(source, tmp_path, caplog):
    folder = prepared(source, tmp_path / "out", *SETTINGS)
    for file in folder.written:
        page = (tmp_path / "out" / file.page).read_text()
        assert "counted from" in page
        assert 'id="recordings"' in page
    summary = (tmp_path / "out" / "summary.html").read_text()
    assert "4 of 4 recordings" in summary
    assert 'href="test/d.html"' in summary
    SplitReader(tmp_path / "out").read(SPLITS)
    assert "not read" not in caplog.text


def test_a_broken_file_is_one_line_and_the_others_are_written(source, tmp_path, capsys):
    (source / "train" / "broken.csv").write_text("Time,Current\n1,x\n")
    folder = prepared(source, tmp_path / "out", *SETTINGS)
    assert list(folder.failed) == ["train/broken.csv"]
    assert "\n" not in folder.failed["train/broken.csv"]
    assert (tmp_path / "out" / "train" / "a.parquet").is_file()
    assert not (tmp_path / "out" / "train" / "broken.parquet").exists()
    folder.print()
    shown = capsys.readouterr()
    assert shown.err.startswith("error: train/broken.csv: ")
    assert "vestim_pl.inspect_data" in shown.err
    assert "4 of 5 recordings" in shown.out


def test_time_stays_exact_and_other_columns_are_what_a_network_sees(source, tmp_path):
    prepared(source, tmp_path / "out", *SETTINGS)
    schema = pq.read_schema(tmp_path / "out" / "train" / "a.parquet")
    assert {name: str(schema.field(name).type) for name in schema.names} == {
        "Time": "double", "Current": "float", "Voltage": "float", "Temp": "float", "SOC": "float",
    }  # fmt: skip


def test_features_by_formula_are_columns_and_in_the_command(tmp_path, drive):
    drive().to_csv(tmp_path / "drive.csv", index=False)
    folder = prepared(tmp_path / "drive.csv", tmp_path / "out", '+data.derived.Slow="low_pass(current, 60)"')
    frame = pd.read_parquet(tmp_path / "out" / "drive.parquet")
    assert frame["Slow"].std() < 0.5 * frame["Current"].std()
    assert "'data.features=[SOC,Current,Temp,Slow]'" in folder.command
    assert "data.split.val=70%..85%" in folder.command


def test_files_of_one_stem_get_two_names(tmp_path, drive):
    source = tmp_path / "in"
    source.mkdir()
    drive(seed=1).to_csv(source / "a.csv", index=False)
    drive(seed=2).to_parquet(source / "a.parquet", index=False)
    prepared(source, tmp_path / "out")
    assert sorted(path.name for path in (tmp_path / "out").glob("*.parquet")) == ["a.csv.parquet", "a.parquet.parquet"]


@pytest.mark.parametrize("target", [".", "in", "in/out", "in/../in", "link"])
def test_the_input_is_never_overwritten(tmp_path, monkeypatch, target):
    monkeypatch.chdir(tmp_path)
    source = tmp_path / "in"
    source.mkdir()
    os.symlink(source, tmp_path / "link")
    with pytest.raises(ConfigurationError, match=r"is, holds, or lies in the input .*; write to a folder"):
        refuse_overlap(source, tmp_path / target, replace=True)


def test_a_folder_with_files_is_refused_unless_they_may_be_replaced(tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "out").mkdir()
    refuse_overlap(tmp_path / "in", tmp_path / "out")
    (tmp_path / "out" / "x").write_text("")
    with pytest.raises(ConfigurationError, match=r"out: is not empty; give a new folder, .*--replace"):
        refuse_overlap(tmp_path / "in", tmp_path / "out")
    refuse_overlap(tmp_path / "in", tmp_path / "out", replace=True)
