"""VEstim's hyperparams.json in the real commands: it trains, sweeps and resumes."""

import json
import shlex
import subprocess
from pathlib import Path

import pytest
import yaml
from lightning.pytorch import Trainer
from omegaconf import OmegaConf

from tests.integration.forked import run_module
from vestim_pl.app.configuration import choices
from vestim_pl.app.next_command import resume_command
from vestim_pl.errors import ConfigurationError
from vestim_pl.reports.provenance import write_provenance
from vestim_pl.train import train

SMALL = {
    "FEATURE_COLUMNS": ["SOC", "Current", "Temp"], "TARGET_COLUMN": "Voltage", "MODEL_TYPE": "LSTM",
    "RNN_LAYER_SIZES": "6,4", "LOOKBACK": "20", "BATCH_SIZE": "64", "BATCH_TRAINING": True, "MAX_EPOCHS": "2",
    "INITIAL_LR": "0.005", "OPTIMIZER_TYPE": "Adam", "WEIGHT_DECAY": "0.0001", "VALID_PATIENCE": "15",
    "VALID_FREQUENCY": "1", "SCHEDULER_TYPE": "ReduceLROnPlateau", "PLATEAU_PATIENCE": "3", "PLATEAU_FACTOR": "0.8",
    "DEVICE_SELECTION": "CPU", "USE_MIXED_PRECISION": False, "NUM_WORKERS": "0", "PIN_MEMORY": True, "REPETITIONS": 1,
    "MAX_TRAIN_MINUTES": "9", "EXPLOIT_REPETITIONS": "0", "INFERENCE_FILTER_TYPE": "None", "_COMMENT": "small",
}  # fmt: skip


def run(folder: Path, *command: str, check: bool = True) -> subprocess.CompletedProcess[str]:
    assert command[0] == "-m"
    done = run_module(folder, *command[1:])
    assert not check or done.returncode == 0, done.stderr
    return done


def only_run(folder: Path) -> Path:
    [found] = [path.parent for path in folder.glob("outputs/*/*/provenance.json")]
    return found


def written(folder: Path, **changes) -> Path:
    path = folder / "hyperparams.json"
    path.write_text(json.dumps(SMALL | changes))
    return path


def test_a_file_trains_and_its_table_and_values_are_kept(tmp_path, recordings):
    written(tmp_path)
    data = ["data=folder", f"data.root={recordings}"]
    done = run(tmp_path, "-m", "vestim_pl.train", "vestim=hyperparams.json", *data, "trainer.max_epochs=1")
    folder = only_run(tmp_path)
    for text in (done.stdout, (folder / "train.log").read_text()):
        assert "sampling.lookback=20" in text
        assert "trainer.max_epochs=1 on the command line takes precedence" in text
        assert text.count("PIN_MEMORY") == 1
    config = yaml.safe_load((folder / ".hydra" / "config.yaml").read_text())
    assert (config["sampling"]["lookback"], config["sampling"]["horizon"]) == (20, 1)
    assert config["network"]["hidden_sizes"] == [6, 4]
    assert "sampling.lookback=20" in yaml.safe_load((folder / ".hydra" / "overrides.yaml").read_text())
    assert json.loads((folder / "provenance.json").read_text())["vestim"] == {
        "file": "hyperparams.json",
        "values": SMALL,
    }
    assert (folder / "test_errors.csv").is_file()


@pytest.mark.slow
def test_a_preset_trains_with_the_command_that_was_printed(tmp_path, recordings):
    written(tmp_path)
    told = run(tmp_path, "-m", "vestim_pl.vestim", "convert", "hyperparams.json").stdout
    command = shlex.split(told.splitlines()[-1].removeprefix("to train: "))
    run(tmp_path, *command[1:], "data=folder", f"data.root={recordings}", "+trainer.max_steps=5")
    folder = only_run(tmp_path)
    config = yaml.safe_load((folder / ".hydra" / "config.yaml").read_text())
    assert config["callbacks"]["plateau"]["factor"] == 0.8
    assert config["trainer"]["max_time"] == "00:00:09:00"
    assert (folder / "checkpoints" / "last.ckpt").is_file()


@pytest.mark.slow
def test_a_preset_of_a_grid_is_a_sweep_without_being_asked_for(tmp_path, recordings):
    written(tmp_path, LOOKBACK="10,20", RNN_LAYER_SIZES="4;3,2", MAX_EPOCHS="1")
    run(tmp_path, "-m", "vestim_pl.vestim", "convert", "hyperparams.json")
    data = ["data=folder", f"data.root={recordings}"]
    run(tmp_path, "-m", "vestim_pl.train", "--config-dir", ".", "+preset=hyperparams", *data)
    [table] = tmp_path.glob("multirun/*/*/sweep.csv")
    assert len(table.read_text().splitlines()) == 1 + 4


@pytest.mark.slow
@pytest.mark.skipif("step" not in choices("scheduler"), reason="there is no scheduler=step yet")
@pytest.mark.parametrize(
    "schedule",
    [
        {"SCHEDULER_TYPE": "StepLR", "LR_PERIOD": "1", "LR_PARAM": "0.5"},
        {
            "SCHEDULER_TYPE": "CosineAnnealingWarmRestarts",
            "COSINE_T0": "1",
            "COSINE_T_MULT": "2",
            "COSINE_ETA_MIN": "1e-6",
        },
    ],
)
def test_a_file_with_a_schedule_trains(tmp_path, recordings, schedule):
    written(tmp_path, **schedule)
    run(tmp_path, "-m", "vestim_pl.train", "vestim=hyperparams.json", "data=folder", f"data.root={recordings}")
    assert (only_run(tmp_path) / "test_errors.csv").is_file()


@pytest.mark.slow
def test_a_mistake_in_the_file_is_one_line(tmp_path):
    written(tmp_path, LOOKBACK="abc")
    done = run(tmp_path, "-m", "vestim_pl.train", "vestim=hyperparams.json", check=False)
    assert done.returncode == 1
    assert done.stderr.splitlines() == [
        "error: hyperparams.json: LOOKBACK: 'abc' is not a number; write a number such as \"200\""
    ]
    assert not (tmp_path / "outputs").exists()


def test_the_line_that_resumes_needs_the_folder_of_the_preset_but_not_the_file(monkeypatch):
    sources = [{"path": "/own", "provider": "command-line"}, {"path": "/conf", "provider": "main"}]
    task = ["+preset=mine", "sampling.lookback=20", "vestim='a file.json'", "ckpt_path=old.ckpt"]
    hydra = OmegaConf.create({"runtime": {"config_sources": sources}, "overrides": {"task": task}})
    monkeypatch.setattr("vestim_pl.app.next_command.HydraConfig.initialized", lambda: True)
    monkeypatch.setattr("vestim_pl.app.next_command.HydraConfig.get", lambda: hydra)
    assert shlex.split(resume_command(Path("last.ckpt")))[3:] == [
        "--config-dir", "/own", "+preset=mine", "sampling.lookback=20", "ckpt_path=last.ckpt",
    ]  # fmt: skip


def test_a_resumed_run_keeps_the_origin_of_its_settings(tmp_path):
    trainer = Trainer(logger=False, enable_checkpointing=False, accelerator="cpu")
    origin = {"file": "hyperparams.json", "values": SMALL}
    write_provenance(tmp_path, trainer, origin)
    write_provenance(tmp_path, trainer)
    assert json.loads((tmp_path / "provenance.json").read_text())["vestim"] == origin


def test_a_file_named_from_python_is_not_passed_over(compose, small, tmp_path):
    with pytest.raises(ConfigurationError, match="read by the command line alone"):
        train(compose(*small, f"vestim={written(tmp_path)}"))
