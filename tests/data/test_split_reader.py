import logging

import numpy as np
import pandas as pd
import pytest

from vestim_pl.data.split_reader import SplitReader, find_recordings
from vestim_pl.data.splits import SplitRules
from vestim_pl.errors import DataError

SPLITS = ("train", "val", "test")


def reader(root, **options):
    return SplitReader(root, **options)


def read(root, **options):
    return reader(root, **options).read(SPLITS)


def spoil(path, column="Voltage", row=2, value=np.nan):
    frame = pd.read_parquet(path)
    frame.loc[row, column] = value
    frame.to_parquet(path)


def test_a_folder_is_read_in_the_order_of_names(folder):
    tables = read(folder)
    assert list(tables) == list(SPLITS)
    assert tables["train"].names == ("a", "b", "c")
    assert tables["train"].lengths.tolist() == [40, 33, 21]
    for name in tables["train"].names:
        frame = pd.read_parquet(folder / "train" / f"{name}.parquet")
        rows = tables["train"].recording(name)
        assert np.array_equal(tables["train"].target[rows].numpy(), frame["Voltage"].to_numpy(np.float32))
        expected = frame[["SOC", "Current", "Temp"]].to_numpy(np.float32)
        assert np.array_equal(tables["train"].inputs[rows].numpy(), expected)


def test_csv_and_subfolders_are_found_and_hidden_files_are_not(folder, recording):
    (folder / "train" / "cold").mkdir()
    recording(30, seed=9).to_csv(folder / "train" / "cold" / "x.CSV", index=False)
    (folder / "train" / ".hidden.csv").write_text("x")
    (folder / "train" / "notes.txt").write_text("x")
    assert read(folder)["train"].names == ("a", "b", "c", "cold/x")


def test_files_of_the_same_stem_keep_their_suffix(folder, recording):
    recording(30, seed=9).to_csv(folder / "train" / "a.csv", index=False)
    assert read(folder)["train"].names == ("a.csv", "a.parquet", "b.parquet", "c.parquet")


def test_a_missing_root_split_or_file_is_named(folder, tmp_path):
    with pytest.raises(
        DataError, match=r"data\.root: .*nowhere is not a folder; set it to a folder with the subfolders"
    ):
        find_recordings(tmp_path / "nowhere", "train")
    (folder / "val").rename(folder / "valid")
    with pytest.raises(DataError, match=r"no subfolder 'val' \(found: test, train, valid\); put recordings into"):
        read(folder)
    (folder / "val").mkdir()
    with pytest.raises(DataError, match=r"val has no file that can be read \(Parquet, .*\); put recordings into it"):
        read(folder)


def test_all_bad_files_are_reported_together(folder):
    spoil(folder / "train" / "b.parquet")
    spoil(folder / "test" / "e.parquet", "Current", 5)
    with pytest.raises(DataError) as caught:
        read(folder)
    first, other = str(caught.value).splitlines()
    assert first.startswith("train/b.parquet: column 'Voltage', row 2")
    assert other.startswith("  also: test/e.parquet: column 'Current', row 5")


def test_a_long_list_of_bad_files_is_cut(folder, recording):
    for index in range(30):
        recording(0).to_parquet(folder / "train" / f"empty{index}.parquet")
    with pytest.raises(DataError, match=r"\n  and 20 more files$"):
        read(folder)


def test_skipping_leaves_the_file_out_with_one_warning(folder, caplog):
    spoil(folder / "train" / "b.parquet")
    skipping = reader(folder, skip=True)
    with caplog.at_level(logging.WARNING, logger="vestim_pl"):
        tables = skipping.read(SPLITS)
    assert tables["train"].names == ("a", "c")
    assert tables["train"].rows == 61
    assert [record.message for record in caplog.records] == [f"left out: {skipping.found.skipped['train/b.parquet']}"]
    assert "column 'Voltage', row 2" in caplog.text


def test_skipping_may_not_empty_a_split(folder):
    spoil(folder / "val" / "d.parquet")
    with pytest.raises(
        DataError, match=r"no usable recording is left in .*val: val/d\.parquet: column 'Voltage', row 2"
    ):
        read(folder, skip=True)


def test_the_same_advice_is_given_once(folder):
    with pytest.raises(DataError) as caught:
        read(folder, minimum_rows=1000, minimum_reason="sampling.lookback=1000")
    first, *others = str(caught.value).splitlines()
    assert "choose a smaller value" in first
    assert all(line.endswith("sampling.lookback=1000 needs at least 1000") for line in others)
    assert len(others) == 5, "the other files of all splits"


def test_too_short_recordings_name_the_setting(folder):
    with pytest.raises(DataError, match=r"train/c\.parquet: has 21 rows but sampling\.lookback=25 needs at least 25"):
        read(folder, minimum_rows=25, minimum_reason="sampling.lookback=25")


@pytest.mark.parametrize("suffix", [".parquet", ".csv"])
def test_the_same_rows_in_two_splits_are_refused_under_any_name(folder, suffix):
    frame = pd.read_parquet(folder / "train" / "b.parquet")
    frame["Time"] += 1000.0  # the same drive, cut out of a longer file
    path = folder / "test" / f"zzz{suffix}"
    frame.to_csv(path, index=False) if suffix == ".csv" else frame.to_parquet(path)
    expected = rf"^train/b\.parquet: has the same rows as test/zzz\{suffix}; a recording in two splits .* remove it"
    with pytest.raises(DataError, match=expected):
        read(folder)
    tables = read(folder, skip=True)
    assert tables["train"].names == ("a", "c")
    assert tables["test"].names == ("e", "f", "zzz")


def test_the_same_rows_twice_in_a_split_are_told(folder, caplog):
    pd.read_parquet(folder / "train" / "a.parquet").to_parquet(folder / "train" / "z.parquet")
    with caplog.at_level(logging.WARNING, logger="vestim_pl"):
        assert len(read(folder)["train"].names) == 4
    assert "train/z.parquet: has the same rows as train/a.parquet; the recording counts twice" in caplog.text


def test_it_reads_the_measured_data_as_it_lies_there(lg_hg2):
    tables = read(lg_hg2, minimum_rows=400)
    assert {split: len(table.names) for split, table in tables.items()} == {"train": 35, "val": 6, "test": 22}
    assert sum(table.rows for table in tables.values()) == 433_538
    assert round(sum(table.hours for table in tables.values())) == 120


def test_shares_divide_the_rows_of_one_recording_and_lose_none(tmp_path, recording):
    path = tmp_path / "drive.parquet"
    recording(200).to_parquet(path)
    rules = SplitRules(val="70%..85%", test="85%..100%")
    tables = read(path, rules=rules)
    assert {split: table.names for split, table in tables.items()} == dict.fromkeys(SPLITS, ("drive",))
    assert [table.rows for table in tables.values()] == [140, 30, 30]
    joined = np.concatenate([table.target.numpy() for table in tables.values()])
    assert np.array_equal(joined, recording(200)["Voltage"].to_numpy(np.float32))


def test_shares_count_over_the_parts_of_a_file_with_a_gap(tmp_path, recording):
    frame = recording(200)
    frame.loc[150:, "Time"] += 5000.0
    frame.to_parquet(tmp_path / "drive.parquet")
    tables = read(tmp_path, rules=SplitRules(val="70%..85%", test="85%..100%"))
    assert [table.lengths.tolist() for table in tables.values()] == [[140], [10, 20], [30]]


def test_one_recording_as_root_is_told_how_to_divide_it(tmp_path, recording):
    path = tmp_path / "drive.parquet"
    recording(200).to_parquet(path)
    with pytest.raises(DataError, match=r"is one recording; divide its rows with data\.split\.val=70%\.\.85%"):
        read(path)
