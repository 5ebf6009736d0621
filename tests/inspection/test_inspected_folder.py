import numpy as np
import pytest

from tests.inspection.conftest import digatron
from vestim_pl.errors import ConfigurationError, DataError
from vestim_pl.inspection.training_command import training_command, why_no_training
from vestim_pl.settings.override import command_text

SPLIT_NAMES = ("25degC_LA92", "25degC_UDDS", "25degC_US06", "n10degC_LA92", "n10degC_UDDS", "n10degC_US06")


def write_splits(root, drive, **spoil):
    """Folder with two recordings to train on and one each to validate and test; ``spoil`` changes one of them."""
    for number, name in enumerate(("train/a", "train/b", "val/c", "test/d")):
        frame = drive(seed=number)
        path = root / f"{name}.csv"
        path.parent.mkdir(parents=True, exist_ok=True)
        spoil.get(path.stem, lambda frame: frame)(frame).to_csv(path, index=False)
    return root


def test_files_that_need_nothing_get_nothing(tmp_path, drive, inspected):
    folder = inspected(write_splits(tmp_path, drive))
    assert (folder.shared, folder.unusable, folder.guesses) == ((), {}, ())
    assert [len(folder.usable(split)) for split in ("train", "val", "test")] == [2, 1, 1]
    file = folder.files["train/a.csv"]
    assert file.columns["soc"] == "SOC"
    assert file.lengths == (900,)
    assert file.hours == pytest.approx(899 / 3600)
    assert file.evidence.sign.share == 1.0


def test_units_sign_and_capacity_of_a_folder_are_found_and_guesses_are_marked(tmp_path, drive, inspected):
    def tester(frame):
        turned = frame.assign(Current=-1000 * frame["Current"], Voltage=1000 * frame["Voltage"])
        return turned.drop(columns="SOC")

    folder = inspected(write_splits(tmp_path, drive, **dict.fromkeys("abcd", tester)))
    found = {each.key: each.value for each in folder.shared}
    assert found["data.current_sign"] == "discharge_positive"
    assert (found["data.units.current"], found["data.units.voltage"]) == ("mA", "mV")
    assert [each.key for each in folder.guesses] == ["data.soc.capacity_ah"]
    assert folder.unusable == {}
    assert folder.files["test/d.csv"].evidence.ranges["current"][0] == pytest.approx(drive(seed=3)["Current"].min())


def test_one_file_of_the_other_sign_is_left_out_and_does_not_turn_the_others(tmp_path, drive, inspected):
    folder = inspected(write_splits(tmp_path, drive, b=lambda frame: frame.assign(Current=-frame["Current"])))
    assert folder.shared == ()
    assert list(folder.unusable) == ["train/b.csv"]
    assert "needs data.current_sign=discharge_positive, unlike the other files" in folder.unusable["train/b.csv"]
    assert "vestim_pl.prepare" in folder.unusable["train/b.csv"]


def test_a_setting_that_would_change_a_file_without_a_word_stops_the_command(tmp_path, drive, inspected):
    """Three files are in mA without saying so; the fourth says A, and data.units.current=mA would divide it by 1000."""
    milli = dict.fromkeys("abc", lambda frame: frame.assign(Current=1000 * frame["Current"]))
    folder = inspected(
        write_splits(tmp_path, drive, **milli, d=lambda frame: frame.rename(columns={"Current": "I [A]"}))
    )
    assert command_text(folder.shared) == "data.units.current=mA"
    assert list(folder.unlike) == ["test/d.csv"]
    assert (
        "needs no setting, unlike the other files: their settings would change its current"
        in folder.unlike["test/d.csv"]
    )
    assert training_command(tmp_path, folder) == ""
    assert "vestim_pl.prepare" in why_no_training(folder)


def test_recordings_at_several_rates_get_the_slowest(tmp_path, drive, inspected):
    def faster(frame):
        return frame.assign(Time=frame["Time"] / 10, SOC=0.9 + (frame["SOC"] - 0.9) / 10)

    folder = inspected(write_splits(tmp_path, drive, d=faster))
    assert command_text(folder.shared) == "data.resample=1"
    assert folder.files["test/d.csv"].lengths == (90,)
    assert folder.unusable == {}


def test_the_same_recording_in_two_splits_is_found_by_content(tmp_path, drive, inspected):
    write_splits(tmp_path, drive)
    drive(seed=0).to_parquet(tmp_path / "test" / "renamed.parquet")
    folder = inspected(tmp_path)
    assert folder.unusable == {
        "train/a.csv": "has the same rows as test/renamed.parquet: the recording is in train and in test"
    }


def test_a_capacity_unlike_the_others_is_not_usable(tmp_path, drive, inspected):
    folder = inspected(write_splits(tmp_path, drive, c=lambda frame: frame.assign(SOC=0.9 + 2 * (frame["SOC"] - 0.9))))
    assert list(folder.unusable) == ["val/c.csv"]
    assert "imply 1.5 Ah, those of most recordings 3 Ah" in folder.unusable["val/c.csv"]


def test_a_folder_without_splits_is_split_by_names_and_few_recordings_by_rows(tmp_path, drive, inspected):
    for number, name in enumerate(SPLIT_NAMES):
        drive(seed=number).drop(columns="Temp").to_csv(tmp_path / f"{name}.csv", index=False)
    folder = inspected(tmp_path)
    assert command_text(folder.recordings.proposed) == "'data.split.test=\"*LA92*\"' 'data.split.val=\"*UDDS*\"'"
    assert command_text(folder.shared) == "data.temperature=name"
    assert folder.files["n10degC_LA92.csv"].evidence.ranges["temperature"] == (-10.0, -10.0)
    single = inspected(tmp_path / f"{SPLIT_NAMES[0]}.csv")
    assert command_text(single.recordings.proposed) == "data.split.val=70%..85% data.split.test=85%..100%"


def test_rules_that_were_given_are_kept(tmp_path, drive, inspected):
    for number, name in enumerate(SPLIT_NAMES):
        drive(seed=number).to_csv(tmp_path / f"{name}.csv", index=False)
    folder = inspected(tmp_path, "data.split.test=*US06*", "data.split.val=n10degC_UDDS.csv")
    assert folder.recordings.proposed == ()
    assert [file.label for file in folder.usable("test")] == ["25degC_US06.csv", "n10degC_US06.csv"]


def test_a_broken_file_is_one_line_and_the_others_are_inspected(tmp_path, drive, inspected):
    write_splits(tmp_path, drive)
    (tmp_path / "train" / "broken.parquet").write_bytes(b"PAR1 cut")
    folder = inspected(tmp_path)
    assert list(folder.unusable) == ["train/broken.parquet"]
    assert "\n" not in folder.unusable["train/broken.parquet"]
    assert len(folder.usable("train")) == 2


def test_digatron_files_need_only_the_capacity(tmp_path, drive, inspected):
    for number, name in enumerate(SPLIT_NAMES):
        digatron(drive(seed=number, interval=0.1), tmp_path / f"{name}.csv")
    folder = inspected(tmp_path)
    assert [each.key for each in folder.shared] == ["data.soc.capacity_ah"]
    soc = folder.files["25degC_LA92.csv"].evidence.ranges["soc"]
    assert np.ptp(soc) == pytest.approx(np.ptp(drive(seed=0, interval=0.1)["SOC"]), abs=1e-4)


def test_an_empty_folder_and_a_setting_of_something_else_are_one_line(tmp_path, inspected):
    with pytest.raises(DataError, match=r"has no file that can be read \(Parquet, CSV .* put recordings into it"):
        inspected(tmp_path)
    with pytest.raises(ConfigurationError, match=r"trainer\.max_epochs=2: is no setting of the data; give overrides"):
        inspected(tmp_path, "trainer.max_epochs=2")
    with pytest.raises(ConfigurationError, match=r"data\.resampl: no such key; did you mean data\.resample"):
        inspected(tmp_path, "data.resampl=2")
