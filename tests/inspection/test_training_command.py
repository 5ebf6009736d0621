"""The command that is proposed trains: its overrides are composed and trained as pasted."""

import shlex

import pytest

from tests.composing import compose
from tests.data.preparation.conftest import cell
from tests.inspection.conftest import digatron
from vestim_pl.inspection.training_command import RC_SECONDS, prepare_command, training_command, why_no_training
from vestim_pl.train import train

KINDS = (
    "plain", "units in the names", "units unsaid", "discharge positive", "no header", "no SOC, no temperature",
    "a name to guess", "digatron", "short", "a gap", "irregular", "a row in 30 s",
)  # fmt: skip


def kinds(frame):
    """One recording as several testers write it."""
    milli = {"Time": "t (ms)", "Voltage": "U (mV)", "Current": "I (mA)", "Temp": "T (K)", "SOC": "SOC (%)"}
    scaled = frame.assign(
        Time=1000 * frame["Time"], Voltage=1000 * frame["Voltage"], Current=1000 * frame["Current"],
        Temp=frame["Temp"] + 273.15, SOC=100 * frame["SOC"],
    )  # fmt: skip
    return {
        "plain": lambda path: frame.to_csv(path, index=False),
        "units in the names": lambda path: scaled.rename(columns=milli).to_csv(path, index=False),
        "units unsaid": lambda path: scaled.to_csv(path, index=False),
        "discharge positive": lambda path: frame.assign(Current=-frame["Current"]).to_csv(path, index=False),
        "no header": lambda path: frame.to_csv(path, index=False, header=False),
        "no SOC, no temperature": lambda path: frame[["Time", "Current", "Voltage"]].to_csv(path, index=False),
        "a name to guess": lambda path: frame.rename(columns={"Temp": "T_chamber temp"}).to_csv(path, index=False),
        "digatron": lambda path: digatron(frame, path),
        "short": lambda path: frame.iloc[:70].to_csv(path, index=False),
        "a gap": lambda path: frame.assign(Time=frame["Time"].where(frame.index < 450, frame["Time"] + 9000)).to_csv(
            path, index=False
        ),
        "a row in 30 s": lambda path: cell(900, interval=30.0)[["Time", "Current", "Voltage"]].to_csv(
            path, index=False
        ),
        "irregular": lambda path: frame[frame.index % 7 != 3].to_csv(path, index=False),
    }


def pasted(command):
    """Overrides of a command line as the shell gives them to the program."""
    _, _, module, *overrides = shlex.split(command)
    assert module == "vestim_pl.train"
    return overrides


def trains(command, folder):
    run = train(compose(*pasted(command), "+trainer.fast_dev_run=true", f"run_dir={folder / 'run'}"))
    return run.datamodule


@pytest.mark.parametrize("kind", KINDS)
def test_the_command_of_one_file_trains(kind, tmp_path, drive, inspected):
    path = tmp_path / "a drive's.csv"  # a name that a shell would break
    kinds(drive())[kind](path)
    command = training_command(path, inspected(path))
    table = trains(command, tmp_path).table("train")
    assert table.rows > 0
    if kind in ("units unsaid", "discharge positive", "units in the names"):
        current = table.inputs[:, 1].numpy()
        assert current.min() == pytest.approx(drive()["Current"][: table.rows].min(), rel=1e-4)


def test_the_command_of_a_folder_leaves_bad_files_out(tmp_path, drive, inspected):
    for number in range(5):
        (tmp_path / "data").mkdir(exist_ok=True)
        drive(seed=number).to_csv(tmp_path / "data" / f"d{number}.csv", index=False)
    (tmp_path / "data" / "z.parquet").write_bytes(b"PAR1")
    folder = inspected(tmp_path / "data")
    command = training_command(tmp_path / "data", folder)
    assert "data.on_bad_file=skip" in command
    datamodule = trains(command, tmp_path)
    assert list(datamodule.skipped) == ["z.parquet"]


def test_settings_that_were_given_are_in_the_command(tmp_path, drive, inspected):
    path = tmp_path / "drive.csv"
    drive().drop(columns="SOC").to_csv(path, index=False)
    given = ["data.soc.capacity_ah=2.9", "data.soc.initial=0.9"]
    command = training_command(path, inspected(path, *given), given)
    assert [each for each in pasted(command) if each.startswith("data.soc")] == given
    assert "data.resample" not in command


def test_no_command_where_no_file_can_be_used(tmp_path, drive, inspected):
    path = tmp_path / "drive.csv"
    drive()[["Current", "Voltage"]].to_csv(path, index=False)
    folder = inspected(path)
    assert training_command(path, folder) == ""
    assert why_no_training(folder) == "no file can be used"
    assert "'Time' " in folder.unusable["drive.csv"]


def test_the_command_that_prepares_has_the_same_settings(tmp_path, drive, inspected):
    path = tmp_path / "drive.csv"
    drive().drop(columns="SOC").to_csv(path, index=False)
    words = shlex.split(prepare_command(path, inspected(path)))
    assert words[2:5] == ["vestim_pl.prepare", str(path), str(tmp_path / "drive-prepared")]
    assert words[5:] == ["data.soc.capacity_ah=3"]


def test_the_time_constants_are_those_of_the_preset():
    assert tuple(compose("+preset=fast").data.rc_pairs) == RC_SECONDS
