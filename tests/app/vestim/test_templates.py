"""VEstim's public templates and the guide's blocks, written anew, value by value; and that they compose."""

import json
import re
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from vestim_pl.app.configuration import check
from vestim_pl.app.vestim import convert, convert_file, overrides
from vestim_pl.app.vestim.hyperparams_file import without_comments
from vestim_pl.errors import ConfigurationError

POWER = {"FEATURE_COLUMNS": ["Power", "Battery_Temp_degC", "SOC"], "TARGET_COLUMN": "Voltage"}
POWER_HERE = {
    "data.features": ["Power", "Battery_Temp_degC", "SOC"], "data.columns.voltage": "Voltage",
    "data.columns.temperature": "Battery_Temp_degC", "data.columns.soc": "SOC",
}  # fmt: skip
MACHINE = {"DEVICE_SELECTION": "cuda:0", "USE_MIXED_PRECISION": True, "PIN_MEMORY": True}
MACHINE_HERE = {"trainer.accelerator": "auto", "trainer.precision": "mixed"}
NO_CLOCK = {"MAX_TRAIN_HOURS": "0", "MAX_TRAIN_MINUTES": "0", "MAX_TRAIN_SECONDS": "0"}
WINDOWS = {"TRAINING_METHOD": "Sequence-to-Sequence"}
WINDOWS_HERE = {"sampling": "windows", "sampling.horizon": 1}
ROWS_HERE = {"sampling": "windows", "sampling.horizon": 0, "sampling.lookback": 1}
# What the templates of a grid and of a search have in common.
LONG_RUN = {
    **POWER, **MACHINE, "BATCH_TRAINING": True, "VALID_PATIENCE": "180", "VALID_FREQUENCY": "1", "REPETITIONS": 1,
    "OPTIMIZER_TYPE": "Adam", "WEIGHT_DECAY": "0.0003", "SCHEDULER_TYPE": "ReduceLROnPlateau", "PLATEAU_PATIENCE": "30",
    "PLATEAU_FACTOR": "0.8", "EXPLOIT_REPETITIONS": "0", "EXPLOIT_EPOCHS": "15", "EXPLOIT_LR": "1e-5",
    "FINAL_LR": "1e-7", "INFERENCE_FILTER_TYPE": "None", "NUM_WORKERS": "16", "PREFETCH_FACTOR": "16",
}  # fmt: skip
LONG_RUN_HERE = {
    **POWER_HERE, **MACHINE_HERE, "callbacks.early_stopping.patience": 180, "trainer.check_val_every_n_epoch": 1,
    "optimizer": "adam", "optimizer.weight_decay": 3e-4, "scheduler": "plateau", "callbacks.plateau.patience": 30,
    "callbacks.plateau.factor": 0.8, "data.num_workers": 16,
}  # fmt: skip
GRID = {
    **LONG_RUN, **WINDOWS, "LOOKBACK": "100,200", "RNN_LAYER_SIZES": "64,32;128,64", "BATCH_SIZE": "64,128",
    "MAX_EPOCHS": "1000", "INITIAL_LR": "0.0001,0.0005",
}  # fmt: skip
GRID_HERE = {
    **LONG_RUN_HERE, **WINDOWS_HERE, "sampling.lookback": {100, 200}, "network.hidden_sizes": {(64, 32), (128, 64)},
    "sampling.batch_size": {64, 128}, "trainer.max_epochs": 1000, "optimizer.lr": {1e-4, 5e-4},
}  # fmt: skip
SEARCH = {
    **LONG_RUN, **WINDOWS, "LOOKBACK": "[100, 400]", "RNN_LAYER_SIZES": "[[32,16],[128,64]]",
    "BATCH_SIZE": "[64, 256]", "MAX_EPOCHS": "[500, 1000]", "INITIAL_LR": "[0.0001, 0.001]",
}  # fmt: skip
SEARCH_HERE = {
    **LONG_RUN_HERE, **WINDOWS_HERE, "sampling.lookback": ("from", 100, 400), "sampling.batch_size": ("from", 64, 256),
    "network.hidden_sizes": ("from", (32, 16), (128, 64)), "trainer.max_epochs": ("from", 500, 1000),
    "optimizer.lr": ("from", 1e-4, 1e-3),
}  # fmt: skip
# What the templates for Optuna alone have in common.
OPTUNA = {
    **POWER, "BATCH_SIZE": "[128,512]", "MAX_EPOCHS": "[50,200]", "INITIAL_LR": "[1e-5,1e-2]",
    "DEVICE_SELECTION": "cuda:0", "OPTIMIZER_TYPE": "Adam", "VALID_PATIENCE": "15", "VALID_FREQUENCY": "1",
    "REPETITIONS": 1,
    "USE_MIXED_PRECISION": True, "PIN_MEMORY": True, "NUM_WORKERS": "8", "INFERENCE_FILTER_TYPE": "None", **NO_CLOCK,
    "_comment_fixed": "=== not searched ===",
}  # fmt: skip
OPTUNA_HERE = {
    **POWER_HERE, **MACHINE_HERE, "sampling.batch_size": ("from", 128, 512), "trainer.max_epochs": ("from", 50, 200),
    "optimizer.lr": ("from", 1e-5, 1e-2), "optimizer": "adam", "callbacks.early_stopping.patience": 15,
    "trainer.check_val_every_n_epoch": 1, "data.num_workers": 8,
}  # fmt: skip

TEMPLATES = {
    "hyperparams_lstm_optimized": (
        {
            "_COMMENT": "balanced", "FEATURE_COLUMNS": ["SOC", "Current", "Temp"], "TARGET_COLUMN": "Voltage",
            "MODEL_TYPE": "LSTM", "LAYERS": "2", "HIDDEN_UNITS": "32", "LSTM_DROPOUT_PROB": "0.2",
            "LSTM_USE_LAYERNORM": False, **WINDOWS, "LOOKBACK": "150", "_COMMENT_LOOKBACK": "less", "BATCH_SIZE": "256",
            "BATCH_TRAINING": True, "SCHEDULER_TYPE": "StepLR", "INITIAL_LR": "0.001", "LR_PARAM": "0.5",
            "LR_PERIOD": "5", "PLATEAU_PATIENCE": "10", "PLATEAU_FACTOR": "0.1", "VALID_PATIENCE": "15",
            "VALID_FREQUENCY": "1", "MAX_EPOCHS": "100", "REPETITIONS": 1, **MACHINE, "OPTIMIZER_TYPE": "Adam",
            "WEIGHT_DECAY": "0.0001", "NUM_WORKERS": "2", "PREFETCH_FACTOR": "2", "PERSISTENT_WORKERS": True,
            "MAX_TRAINING_TIME_SECONDS": 0, "TRAIN_VAL_SPLIT": "0.8", "LR_DROP_FACTOR": "0.5", "LR_DROP_PERIOD": "1",
            "ValidFrequency": "1", "SEQUENCE_SPLIT_METHOD": "temporal", **NO_CLOCK, "_PERFORMANCE_NOTES": ["a", "b"],
        },
        {
            "data.features": ["SOC", "Current", "Temp"], "data.columns.voltage": "Voltage", "data.columns.soc": "SOC",
            "data.columns.current": "Current", "data.columns.temperature": "Temp", "network": "lstm",
            "network.hidden_sizes": [32, 32], "network.dropout": 0.2, "network.layer_norm": False, **WINDOWS_HERE,
            "sampling.lookback": 150, "sampling.batch_size": 256, "scheduler": "step", "scheduler.period": 5,
            "scheduler.factor": 0.5, "optimizer": "adam", "optimizer.lr": 1e-3, "optimizer.weight_decay": 1e-4,
            "callbacks.early_stopping.patience": 15, "trainer.check_val_every_n_epoch": 1, "trainer.max_epochs": 100,
            "data.num_workers": 2, **MACHINE_HERE,
        },
    ),
    "RNN_LAYER_SIZES_EXAMPLE": (
        {
            "_comment_usage": "sizes with commas", **POWER, "MODEL_TYPE": "LSTM", **WINDOWS, "RNN_LAYER_SIZES": "64,32",
            "_example_1": "RNN_LAYER_SIZES: '64,32'", "BATCH_SIZE": "256", "LOOKBACK": "200", "MAX_EPOCHS": "100",
            "INITIAL_LR": "0.001", "SCHEDULER_TYPE": "StepLR", "LR_PARAM": "0.8", "LR_PERIOD": "20",
            "VALID_PATIENCE": "20", "VALID_FREQUENCY": "1", "REPETITIONS": 1, **MACHINE, "OPTIMIZER_TYPE": "Adam",
            "NUM_WORKERS": "4", "PREFETCH_FACTOR": "2", **NO_CLOCK,
        },
        {
            **POWER_HERE, "network": "lstm", **WINDOWS_HERE, "network.hidden_sizes": [64, 32],
            "sampling.batch_size": 256,
            "sampling.lookback": 200, "trainer.max_epochs": 100, "optimizer.lr": 1e-3, "scheduler": "step",
            "scheduler.factor": 0.8, "scheduler.period": 20, "callbacks.early_stopping.patience": 20,
            "trainer.check_val_every_n_epoch": 1, **MACHINE_HERE, "optimizer": "adam", "data.num_workers": 4,
        },
    ),
    "grid_search_lstm": ({**GRID, "MODEL_TYPE": "LSTM"}, {**GRID_HERE, "network": "lstm"}),
    "grid_search_gru": ({**GRID, "MODEL_TYPE": "GRU"}, {**GRID_HERE, "network": "gru"}),
    "grid_search_fnn": (
        {
            **LONG_RUN, "MODEL_TYPE": "FNN", "TRAINING_METHOD": "WholeSequenceFNN", "FNN_HIDDEN_LAYERS": "64,32;128,64",
            "FNN_ACTIVATION": "ReLU", "FNN_DROPOUT_PROB": "0.1,0.2", "BATCH_SIZE": "4096,8192", "MAX_EPOCHS": "1000",
            "INITIAL_LR": "0.0001,0.0005",
        },
        {
            **LONG_RUN_HERE, **ROWS_HERE, "network": "fnn", "network.hidden_sizes": {(64, 32), (128, 64)},
            "network.dropout": {0.1, 0.2}, "sampling.batch_size": {4096, 8192}, "trainer.max_epochs": 1000,
            "optimizer.lr": {1e-4, 5e-4},
        },
    ),
    "optuna_lstm": ({**SEARCH, "MODEL_TYPE": "LSTM"}, {**SEARCH_HERE, "network": "lstm"}),
    "optuna_gru": ({**SEARCH, "MODEL_TYPE": "GRU"}, {**SEARCH_HERE, "network": "gru"}),
    "optuna_fnn": (
        {
            **LONG_RUN, "MODEL_TYPE": "FNN", "TRAINING_METHOD": "WholeSequenceFNN", "FNN_ACTIVATION": "ReLU",
            "FNN_HIDDEN_LAYERS": "[[64,32],[256,128]]", "FNN_DROPOUT_PROB": "[0.1, 0.5]", "BATCH_SIZE": "[2048, 8192]",
            "MAX_EPOCHS": "[500, 1000]", "INITIAL_LR": "[0.0001, 0.001]",
        },
        {
            **LONG_RUN_HERE, **ROWS_HERE, "network": "fnn", "network.hidden_sizes": ("from", (64, 32), (256, 128)),
            "network.dropout": ("from", 0.1, 0.5), "sampling.batch_size": ("from", 2048, 8192),
            "trainer.max_epochs": ("from", 500, 1000), "optimizer.lr": ("from", 1e-4, 1e-3),
        },
    ),
    "optuna_hyperparams_lstm": (
        {
            **OPTUNA, **WINDOWS, "MODEL_TYPE": "LSTM", "LAYERS": "[1,3]", "HIDDEN_UNITS": "[16,128]",
            "LOOKBACK": "[200,600]", "LR_PARAM": "[0.1,0.8]", "LR_PERIOD": "[5,20]", "SCHEDULER_TYPE": "StepLR",
        },
        {
            **OPTUNA_HERE, **WINDOWS_HERE, "network": "lstm", "network.hidden_sizes": ("from", (16,), (128, 128, 128)),
            "sampling.lookback": ("from", 200, 600), "scheduler": "step", "scheduler.factor": ("from", 0.1, 0.8),
            "scheduler.period": ("from", 5, 20),
        },
    ),
    "optuna_hyperparams_gru": (
        {
            **OPTUNA, **WINDOWS, "MODEL_TYPE": "GRU", "GRU_LAYERS": "[1,3]", "GRU_HIDDEN_UNITS": "[16,128]",
            "LOOKBACK": "[200,600]", "COSINE_T0": "[10,30]", "COSINE_T_MULT": "[1,3]", "COSINE_ETA_MIN": "[1e-7,1e-5]",
            "SCHEDULER_TYPE": "CosineAnnealingWarmRestarts",
        },
        {
            **OPTUNA_HERE, **WINDOWS_HERE, "network": "gru", "network.hidden_sizes": ("from", (16,), (128, 128, 128)),
            "sampling.lookback": ("from", 200, 600), "scheduler": "cosine_warm_restarts",
            "scheduler.t0": ("from", 10, 30), "scheduler.t_mult": ("from", 1, 3),
            "scheduler.eta_min": ("from", 1e-7, 1e-5),
        },
    ),
    "optuna_hyperparams_fnn": (
        {
            **OPTUNA, "MODEL_TYPE": "FNN", "TRAINING_METHOD": "WholeSequenceFNN", "FNN_ACTIVATION": "ReLU",
            "FNN_HIDDEN_LAYERS": "[32,64,128],[128,256,512]", "FNN_DROPOUT_PROB": "[0.1,0.5]",
            "PLATEAU_FACTOR": "[0.1,0.8]", "PLATEAU_PATIENCE": "[5,15]", "SCHEDULER_TYPE": "ReduceLROnPlateau",
        },
        {
            **OPTUNA_HERE, **ROWS_HERE, "network": "fnn", "scheduler": "plateau",
            "network.hidden_sizes": ("from", (32, 64, 128), (128, 256, 512)), "network.dropout": ("from", 0.1, 0.5),
            "callbacks.plateau.factor": ("from", 0.1, 0.8), "callbacks.plateau.patience": ("from", 5, 15),
        },
    ),
    "first start": (
        {
            "FEATURE_COLUMNS": ["Battery_Temp_degC", "Power", "SOC"], "TARGET_COLUMN": "Voltage", "MODEL_TYPE": "LSTM",
            "LAYERS": "1", "HIDDEN_UNITS": "10", **WINDOWS, "LOOKBACK": "400", "BATCH_TRAINING": True,
            "BATCH_SIZE": "200", "SCHEDULER_TYPE": "StepLR", "INITIAL_LR": "0.0001", "LR_PARAM": "0.1",
            "LR_PERIOD": "2",
            "PLATEAU_PATIENCE": "10", "PLATEAU_FACTOR": "0.1", "VALID_PATIENCE": "10", "VALID_FREQUENCY": "1",
            "MAX_EPOCHS": "5", "REPETITIONS": 1, "DEVICE_SELECTION": "CPU", "MAX_TRAINING_TIME_SECONDS": 0,
            "TRAIN_VAL_SPLIT": "0.8", "LR_DROP_FACTOR": "0.5", "LR_DROP_PERIOD": "1", "ValidFrequency": "1",
            "SEQUENCE_SPLIT_METHOD": "temporal", "MAX_TRAIN_HOURS": "0", "MAX_TRAIN_MINUTES": "30",
            "MAX_TRAIN_SECONDS": "0",
        },
        {
            **POWER_HERE, "data.features": ["Battery_Temp_degC", "Power", "SOC"], "network": "lstm",
            "network.hidden_sizes": [10], **WINDOWS_HERE, "sampling.lookback": 400, "sampling.batch_size": 200,
            "scheduler": "step", "scheduler.factor": 0.1, "scheduler.period": 2, "optimizer.lr": 1e-4,
            "callbacks.early_stopping.patience": 10, "trainer.check_val_every_n_epoch": 1, "trainer.max_epochs": 5,
            "trainer.accelerator": "cpu", "trainer.max_time": "00:00:30:00",
        },
    ),
}  # fmt: skip


def found(values: dict) -> dict:
    """Target to value; a set for a grid, ("from", low, high) for a search."""

    def written(choice):
        if choice.range:
            return ("from", choice.range.low, choice.range.high)
        if choice.is_grid:
            return set(choice.values)
        return list(choice.one) if isinstance(choice.one, tuple) else choice.one

    return {setting.target: written(setting.choice) for setting in convert(values, "template.json").settings}


@pytest.mark.parametrize("name", TEMPLATES)
def test_a_public_template_converts_value_by_value(name):
    values, expected = TEMPLATES[name]
    assert found(values) == expected


@pytest.mark.parametrize("name", TEMPLATES)
def test_a_public_template_composes_and_passes_the_check_with_those_values(name, compose):
    values, expected = TEMPLATES[name]
    firsts = []
    for setting in convert(values, "template.json").settings:
        low = [setting.choice.range.low] if setting.choice.range else setting.choice.values[:1]
        firsts.append(type(setting)(setting.target, type(setting.choice)(tuple(low)), adds=setting.adds))
    config = compose(*overrides(firsts))
    check(config)
    for target, value in expected.items():
        if "." in target and not isinstance(value, set | tuple):
            assert OmegaConf.select(config, target) == value, target
    assert config.network.name.lower() == expected["network"]


@pytest.mark.parametrize(
    ("values", "key"),
    [
        (
            {"TARGET_COLUMN": "SOC", "MODEL_TYPE": "NARX", "HIDDEN_LAYER_SIZES": "128,64", "OUTPUT_DELAY": "1"},
            "MODEL_TYPE",
        ),
        (
            {"MODEL_TYPE": "LSTM", "FEATURE_COLUMNS": ["I_filter_2mHz", "V_filter_2mHz"], "TARGET_COLUMN": "SOC"},
            "TARGET_COLUMN",
        ),
    ],
)
def test_templates_for_what_is_not_estimated_here_are_refused(values, key):
    with pytest.raises(ConfigurationError, match=key):
        convert(values, "template.json")


GUIDE = {
    "safer": """{
        "LOOKBACK": "200",           // half of what failed
        "HIDDEN_UNITS": "32",        // was 10
        "LAYERS": "1",
        "INITIAL_LR": "0.0001",      // as before
        "WEIGHT_DECAY": "0.0001",    // new: "L2"
        "DROPOUT_PROB": "0.2",
        "LSTM_USE_LAYERNORM": true   // steadier
    }""",
    "more_capacity": """{
        "LOOKBACK": "300", "RNN_LAYER_SIZES": "64,32",  // two layers
        "INITIAL_LR": "0.00005", "WEIGHT_DECAY": "0.0001",
        "LSTM_DROPOUT_PROB": "0.3", "LSTM_USE_LAYERNORM": true
    }""",
    "long_lookback": """{
        "LOOKBACK": "400", "RNN_LAYER_SIZES": "128,64", "INITIAL_LR": "0.00003", "WEIGHT_DECAY": "0.0005",
        "LSTM_DROPOUT_PROB": "0.4", "LSTM_USE_LAYERNORM": true,
        "USE_MIXED_PRECISION": true, // steadier on a GPU
        "BATCH_SIZE": "128"
    }""",
}  # fmt: skip
_NOT_IN_THE_GUIDE = ("hydra", "trainer.max_epochs", "callbacks.adaptive_lookback", "sampling.horizon", "vestim")


def without(config, paths):
    plain = OmegaConf.to_container(config)
    for path in paths:
        *nodes, name = path.split(".")
        node = plain
        for part in nodes:
            node = node[part]
        node.pop(name, None)
    return plain


@pytest.mark.parametrize("preset", GUIDE)
def test_a_block_of_the_guide_is_its_preset_value_by_value(preset, compose, tmp_path):
    path = tmp_path / "hyperparams.json"
    path.write_text(GUIDE[preset])
    converted = compose(*overrides(convert_file(path).settings))
    expected = compose(f"+preset={preset}")
    assert without(converted, _NOT_IN_THE_GUIDE) == without(expected, _NOT_IN_THE_GUIDE)
    assert (converted.sampling.horizon, expected.sampling.horizon) == (1, 0)
    assert compose(*overrides(convert_file(path, horizon=0).settings)).sampling.horizon == 0


def test_the_blocks_above_are_the_guides():
    guide = Path(__file__).resolve().parents[4] / "shared" / "guide" / "lstm-nan-debugging-guide.txt"
    if not guide.is_file():
        pytest.skip("VEstim's debugging guide is not beside the checkout, at ../shared/guide")
    blocks = re.findall(r"```json\n(.*?)```", guide.read_text(), flags=re.DOTALL)
    assert [json.loads(without_comments(block)) for block in blocks] == [
        json.loads(without_comments(block)) for block in GUIDE.values()
    ]
