import logging
import os

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import torch

from vestim_pl.data import PreparationSettings, WindowDataset
from vestim_pl.data.mapped import mapped_tables, open_table, write_table
from vestim_pl.data.split_reader import SplitReader
from vestim_pl.errors import DataError

SPLITS = ("train", "val", "test")


def reader(root, **options):
    return SplitReader(root, **options)


def same(one, other):
    return (
        torch.equal(one.inputs, other.inputs)
        and torch.equal(one.target, other.target)
        and np.array_equal(one.time, other.time)
        and np.array_equal(one.borders, other.borders)
        and one.names == other.names
    )


def test_a_mapped_table_is_the_table(table, tmp_path):
    two = table(20, 13, features=3)
    write_table(two, tmp_path / "x.arrow")
    mapped = open_table(tmp_path / "x.arrow")
    assert same(mapped, two)
    assert torch.equal(
        WindowDataset(mapped, 5).__getitems__([0, 20]).inputs, WindowDataset(two, 5).__getitems__([0, 20]).inputs
    )


def test_anything_that_reads_arrow_reads_the_file(table, tmp_path):
    two = table(20, 13)
    write_table(two, tmp_path / "x.arrow")
    frame = pa.ipc.open_file(str(tmp_path / "x.arrow")).read_pandas()
    assert frame["target"].tolist() == two.target.tolist()
    assert frame["inputs"].iloc[3].tolist() == two.inputs[3].tolist()


def test_mapped_equals_memory_and_is_written_once(folder, tmp_path):
    cache = tmp_path / "cache"
    expected = reader(folder).read(SPLITS)
    tables, _ = mapped_tables(reader(folder), SPLITS, cache)
    assert list(tables) == list(SPLITS)
    assert all(same(tables[split], expected[split]) for split in SPLITS)
    (written,) = cache.iterdir()
    assert sorted(path.name for path in written.iterdir()) == ["found.json", "test.arrow", "train.arrow", "val.arrow"]
    times = {path: path.stat().st_mtime_ns for path in written.iterdir()}
    again, _ = mapped_tables(reader(folder), SPLITS, cache)
    assert all(same(again[split], expected[split]) for split in SPLITS)
    assert {path: path.stat().st_mtime_ns for path in written.iterdir()} == times


def test_rows_are_not_read_into_memory(table, tmp_path):
    write_table(table(50, features=3), tmp_path / "x.arrow")
    with (tmp_path / "x.arrow").open("r+b") as file:  # a change of the file shows in the tensor: it is mapped
        mapped = open_table(tmp_path / "x.arrow")
        content = file.read()
        wanted = mapped.target.numpy().tobytes()
        file.seek(content.index(wanted))
        file.write(np.float32(-7).tobytes())
        file.flush()
        os.fsync(file.fileno())
    assert mapped.target[0] == -7


def test_a_changed_recording_or_setting_is_read_anew(folder, tmp_path, recording):
    cache = tmp_path / "cache"
    mapped_tables(reader(folder), SPLITS, cache)
    recording(50, seed=9).to_parquet(folder / "train" / "a.parquet")
    tables, _ = mapped_tables(reader(folder), SPLITS, cache)
    assert tables["train"].lengths.tolist() == [50, 33, 21]
    changed = SplitReader(folder, PreparationSettings(features=("Temp",)))
    assert mapped_tables(changed, SPLITS, cache)[0]["train"].features == 1


def test_what_was_left_out_is_told_in_every_run(folder, tmp_path, caplog):
    frame = pd.read_parquet(folder / "train" / "b.parquet")
    frame.loc[2, "Voltage"] = np.nan
    frame.to_parquet(folder / "train" / "b.parquet")
    for _ in range(2):
        caplog.clear()
        with caplog.at_level(logging.WARNING, logger="vestim_pl"):
            tables, found = mapped_tables(reader(folder, skip=True), SPLITS, tmp_path / "cache")
        assert tables["train"].names == ("a", "c")
        skipped = found.skipped
        assert list(skipped) == ["train/b.parquet"]
        assert [record.message for record in caplog.records] == [f"left out: {skipped['train/b.parquet']}"]


def test_an_error_leaves_nothing_behind(folder, tmp_path):
    (folder / "train" / "b.parquet").write_text("x")
    with pytest.raises(DataError, match=r"train/b\.parquet: cannot be read"):
        mapped_tables(reader(folder), SPLITS, tmp_path / "cache")
    assert list((tmp_path / "cache").iterdir()) == []


def test_a_longer_lookback_is_checked_against_mapped_files_too(folder, tmp_path):
    mapped_tables(reader(folder, minimum_rows=5), SPLITS, tmp_path / "cache")
    with pytest.raises(DataError, match="has 21 rows"):
        mapped_tables(reader(folder, minimum_rows=25), SPLITS, tmp_path / "cache")
