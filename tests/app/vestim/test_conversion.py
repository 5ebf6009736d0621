"""Every key is accounted for, contradictions are one line, and what is missing here is said."""

import json
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vestim_pl.app.vestim import KEYS, convert
from vestim_pl.errors import ConfigurationError

FILE = "hyperparams.json"


def outcomes(values: dict) -> dict[str, str]:
    return {row.key: row.outcome for row in convert(values, FILE).rows}


def settings_of(values: dict, **options) -> dict:
    """Target to value, to a list for a grid, to a pair of bounds for a search."""
    found = {}
    for setting in convert(values, FILE, **options).settings:
        bounds = setting.choice.range
        found[setting.target] = (bounds.low, bounds.high) if bounds else list(setting.choice.values)
    return found


_scalars = st.one_of(
    st.none(), st.booleans(), st.integers(-5, 5000), st.floats(0, 10, allow_nan=False),
    st.sampled_from(["", "1", "64,32", "[1,3]", "[[8,4],[16,8]]", "0.5", "LSTM", "GRU", "FNN", "Adam", "StepLR"]),
    st.text(max_size=6),
)  # fmt: skip
_values = st.one_of(_scalars, st.lists(_scalars, max_size=3))
_keys = st.one_of(st.sampled_from(sorted(KEYS)), st.sampled_from(["_COMMENT", "LOKBACK", "", "Größe"]))


@settings(max_examples=400, deadline=None)
@given(st.dictionaries(_keys, _values, max_size=8))
def test_whatever_the_file_says_every_key_has_a_row_or_one_line_refuses_it(values):
    said = ""
    try:
        conversion = convert(values, FILE)
    except ConfigurationError as refused:
        said = str(refused)
    if said:
        assert re.match(rf"{FILE}: ({'|'.join(map(re.escape, values))}): \S", said)
        assert "\n" not in said
        return
    rows = [row for row in conversion.rows if row.key in values]
    assert [row.key for row in rows] == list(values)
    assert all(row.outcome for row in conversion.rows)
    targets = [setting.target for setting in conversion.settings]
    assert len(set(targets)) == len(targets), "a setting has two values"


@pytest.mark.parametrize("key", sorted(KEYS))
def test_every_key_alone_is_set_left_out_or_refused_and_never_unknown(key):
    try:
        told = outcomes({key: "2"})[key]
    except ConfigurationError as refused:
        told = str(refused)
    assert "unknown" not in told


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"LAYERS": "2", "RNN_LAYER_SIZES": "64,32,16"}, "LAYERS: 2 contradicts RNN_LAYER_SIZES 64,32,16, which has 3"),
        ({"HIDDEN_UNITS": "10", "RNN_LAYER_SIZES": "64,32"}, "HIDDEN_UNITS: 10 contradicts RNN_LAYER_SIZES 64,32"),
        ({"RNN_LAYER_SIZES": "64,32", "LSTM_UNITS": "64"}, "LSTM_UNITS: 64 contradicts RNN_LAYER_SIZES 64,32"),
        ({"LAYERS": "2", "RNN_LAYER_SIZES": "64,32;64,32,16"}, "LAYERS: 2 contradicts"),
        ({"LAYERS": "2"}, 'LAYERS: 2 layers have no size; add "HIDDEN_UNITS"'),
        ({"MODEL_TYPE": "FNN", "FNN_N_LAYERS": "3", "FNN_UNITS": "64,32"}, "3 contradicts FNN_UNITS 64,32"),
        ({"MODEL_TYPE": "FNN", "TRAINING_METHOD": "Sequence-to-Sequence"}, "does not go with the network"),
        ({"TRAINING_METHOD": "WholeSequenceFNN"}, "does not go with the network"),
        ({"MODEL_TYPE": "NARX"}, "MODEL_TYPE: 'NARX' is not supported"),
        ({"MODEL_TYPE": "FNN", "FNN_ACTIVATION": "Tanh"}, "FNN_ACTIVATION: 'Tanh' is not supported; the FNN has ReLU"),
        ({"TARGET_COLUMN": "SOC"}, "TARGET_COLUMN: 'SOC' is not a voltage"), ({"OPTIMIZER_TYPE": "SGD"}, "Adam, AdamW"),
        ({"DEVICE_SELECTION": "tpu"}, "is not a device"), ({"DROPOUT_PROB": "1.0"}, "at least 0 and below 1"),
        ({"MAX_TRAIN_HOURS": "1", "MAX_TRAINING_TIME_SECONDS": 60}, "60 s contradicts MAX_TRAIN_HOURS, 3600 s"),
        ({"LOOKBACK": "100,200", "BATCH_SIZE": "[64,256]"}, "LOOKBACK: '100,200' is a grid, but BATCH_SIZE"),
        ({"SCHEDULER_TYPE": "Cosine"}, "SCHEDULER_TYPE: 'Cosine' is not supported; write one of StepLR"),
        ({"LOOKBACK": "abc"}, "LOOKBACK: 'abc' is not a number; write a number such as \"200\""),
    ],
)  # fmt: skip
def test_contradictions_and_nonsense_are_one_line_with_file_and_key(values, said):
    with pytest.raises(ConfigurationError) as refused:
        convert(values, FILE)
    assert str(refused.value).startswith(f"{FILE}: ")
    assert said in str(refused.value)


def test_a_list_of_layers_may_stand_beside_what_vestim_derives_from_it():
    assert settings_of({"RNN_LAYER_SIZES": "64,32", "LAYERS": 2, "HIDDEN_UNITS": 64})["network.hidden_sizes"] == [
        (64, 32)
    ]


def test_layers_times_units_is_a_grid_over_both():
    found = settings_of({"LAYERS": "1,2", "HIDDEN_UNITS": "16,32"})["network.hidden_sizes"]
    assert found == [(16,), (16, 16), (32,), (32, 32)]


def test_keys_of_other_networks_and_schedules_are_left_out_and_say_so():
    told = outcomes(
        {"MODEL_TYPE": "GRU", "GRU_LAYERS": "2", "GRU_HIDDEN_UNITS": "8", "LAYERS": "5", "HIDDEN_UNITS": "99",
         "FNN_UNITS": "3", "LSTM_DROPOUT_PROB": "0.3", "GRU_DROPOUT_PROB": "0.1", "SCHEDULER_TYPE": "StepLR",
         "LR_PERIOD": "5", "LR_DROP_PERIOD": "1", "COSINE_T0": "7"}
    )  # fmt: skip
    assert told["LAYERS"] == "left out: GRU_LAYERS takes precedence"
    assert told["FNN_UNITS"] == told["LSTM_DROPOUT_PROB"] == "left out: not for the network of this file, GRU"
    assert told["LR_DROP_PERIOD"].startswith("left out: LR_PERIOD takes precedence")
    assert told["COSINE_T0"].startswith("left out: for CosineAnnealingWarmRestarts")
    assert told["GRU_HIDDEN_UNITS"] == "network.hidden_sizes=[8,8]"


def test_a_schedule_without_its_type_is_known_by_its_keys():
    assert settings_of({"LR_DROP_PERIOD": "3", "LR_DROP_FACTOR": "0.1"})["scheduler"] == ["step"]
    assert "scheduler" not in settings_of({"LR_PERIOD": "3", "PLATEAU_FACTOR": "0.1"})


def test_the_horizon_is_vestims_unless_asked_otherwise_and_said():
    assert settings_of({"LOOKBACK": "200"})["sampling.horizon"] == [1]
    assert settings_of({"LOOKBACK": "200"}, horizon=0)["sampling.horizon"] == [0]
    assert "a sample before the estimated one" in outcomes({"LOOKBACK": "200"})["(not in the file)"]


def test_a_feedforward_network_sees_single_rows():
    found = settings_of({"MODEL_TYPE": "FNN", "TRAINING_METHOD": "WholeSequenceFNN", "LOOKBACK": "N/A"})
    assert (found["sampling.lookback"], found["sampling.horizon"]) == ([1], [0])


def test_power_is_said_to_hold_the_voltage():
    told = outcomes({"FEATURE_COLUMNS": ["Power", "Battery_Temp_degC", "SOC"], "TARGET_COLUMN": "Voltage"})
    assert "Power is computed from the voltage" in told["FEATURE_COLUMNS"]


def test_columns_are_known_by_their_names_where_only_one_fits():
    found = settings_of({"FEATURE_COLUMNS": ["I", "Battery_Temp_degC", "Ambient_Temp", "SoC", "I_filter_2mHz"]})
    assert (found["data.columns.current"], found["data.columns.soc"]) == (["I"], ["SoC"])
    assert "data.columns.temperature" not in found


def test_time_limits_add_up_and_zero_is_no_limit():
    assert settings_of({"MAX_TRAIN_HOURS": "26", "MAX_TRAIN_SECONDS": "5"})["trainer.max_time"] == ["01:02:00:05"]
    assert settings_of({"MAX_TRAINING_TIME_SECONDS": 90, "MAX_TRAIN_HOURS": "0"})["trainer.max_time"] == ["00:00:01:30"]
    assert "trainer.max_time" not in settings_of({"MAX_TRAINING_TIME_SECONDS": 0, "MAX_TRAIN_HOURS": "0"})


def test_devices():
    cases = {"cuda:0": "auto", "CPU": "cpu", "cuda": "auto", "cuda:2": "cuda"}
    for name, accelerator in cases.items():
        assert settings_of({"DEVICE_SELECTION": name})["trainer.accelerator"] == [accelerator]
    assert settings_of({"DEVICE_SELECTION": "cuda:2"})["trainer.devices"] == [(2,)]


def test_repetitions_are_seeds():
    assert settings_of({"REPETITIONS": 3})["seed"] == [0, 1, 2]
    assert "seed" not in settings_of({"REPETITIONS": "1"})


def test_a_key_without_a_value_says_so_and_sets_nothing():
    assert outcomes({"LOOKBACK": "", "BATCH_SIZE": None}) | {"(not in the file)": ""} == {
        "LOOKBACK": "left out: it has no value", "BATCH_SIZE": "left out: it has no value", "(not in the file)": "",
    }  # fmt: skip


def test_an_unknown_key_names_the_nearest_known_one():
    assert outcomes({"LOOK_BACK": "1"})["LOOK_BACK"] == "unknown; the nearest known key is LOOKBACK"
    assert json.dumps(outcomes({"xyz": 1}))
