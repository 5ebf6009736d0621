"""The YAML of a conversion: it composes to the same values, and says where each comes from."""

import pytest
import yaml
from omegaconf import OmegaConf

from vestim_pl.app.vestim import convert, overrides, preset_yaml, search_yaml

SINGLE = {
    "_COMMENT": "ours",
    "FEATURE_COLUMNS": ["SOC", "I [A]", "T: cell #2"],
    "TARGET_COLUMN": "U",
    "MODEL_TYPE": "LSTM_EMA",
    "RNN_LAYER_SIZES": "64,32",
    "LOOKBACK": "150",
    "INITIAL_LR": "1e-5",
    "WEIGHT_DECAY": "0",
    "OPTIMIZER_TYPE": "AdamW",
    "SCHEDULER_TYPE": "ReduceLROnPlateau",
    "PLATEAU_FACTOR": "0.8",
    "DEVICE_SELECTION": "cuda:1",
    "MAX_TRAIN_HOURS": "300",
    "TRAIN_VAL_SPLIT": "0.8",
    "LOKBACK": "3",
}


@pytest.fixture
def preset(tmp_path):
    """Write a preset of these values, and return the folder that Hydra is to search."""

    def write(values: dict):
        folder = tmp_path / "own" / "preset"
        folder.mkdir(parents=True)
        (folder / "mine.yaml").write_text(preset_yaml(convert(values, "hyperparams.json"), "python -m vestim_pl.train"))
        return folder.parent

    return write


def test_a_preset_composes_to_what_the_overrides_compose_to(preset, compose):
    from_preset = compose("+preset=mine", folders=[preset(SINGLE)])
    from_overrides = compose(*overrides(convert(SINGLE, "hyperparams.json").settings))
    assert OmegaConf.to_container(from_preset) == OmegaConf.to_container(from_overrides)
    assert from_preset.trainer.max_time == "12:12:00:00"
    assert from_preset.data.features[2] == "T: cell #2"
    assert from_preset.optimizer.lr == 1e-5


def test_every_line_says_where_it_comes_from_and_no_key_is_missing():
    text = preset_yaml(convert(SINGLE, "hyperparams.json"), "python -m vestim_pl.train")
    for key in SINGLE:
        assert key in text
    body = text.partition("\n# Keys without")[0]
    values = [line for line in body.splitlines() if ": " in line and not line.startswith("#")]
    assert values
    assert all("  # " in line or " # " in line for line in values)
    assert "LOKBACK: 3  (unknown; the nearest known key is LOOKBACK)" in text
    assert "TRAIN_VAL_SPLIT: 0.8  (left out: " in text


def test_a_grid_is_a_multirun_of_hydras_sweeper():
    text = preset_yaml(convert({"LOOKBACK": "100,200", "RNN_LAYER_SIZES": "64,32;128,64"}, "h.json"), "")
    hydra = yaml.safe_load(text)["hydra"]
    assert hydra == {
        "mode": "MULTIRUN",
        "sweeper": {"params": {"sampling.lookback": "100,200", "network.hidden_sizes": "[64,32],[128,64]"}},
    }


def test_what_is_to_be_searched_has_no_value_in_the_preset_and_bounds_in_the_space():
    conversion = convert(
        {"LOOKBACK": "[100, 400]", "INITIAL_LR": "[0.0001, 0.001]", "LAYERS": "[1,3]", "HIDDEN_UNITS": "[16,128]",
         "LSTM_DROPOUT_PROB": "[0, 0.5]"}, "h.json"
    )  # fmt: skip
    assert yaml.safe_load(preset_yaml(conversion, ""))["sampling"]["lookback"] == "???"
    assert yaml.safe_load(search_yaml(conversion))["space"] == {
        "sampling.lookback": {"type": "integer", "low": 100, "high": 400},
        "optimizer.lr": {"type": "float", "low": 1e-4, "high": 1e-3, "log": True},
        "network.hidden_sizes": {"type": "layers", "layers": [1, 3], "low": [16, 16, 16], "high": [128, 128, 128]},
        "network.dropout": {"type": "float", "low": 0.0, "high": 0.5},
    }
    layers = convert({"RNN_LAYER_SIZES": "[[32,16],[128,64]]"}, "h.json")
    assert yaml.safe_load(search_yaml(layers))["space"]["network.hidden_sizes"] == {
        "type": "layers", "layers": [2, 2], "low": [32, 16], "high": [128, 64],
    }  # fmt: skip
