"""``vestim=FILE`` on a command line."""

import json
import shlex

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser

from vestim_pl.app.vestim import expand
from vestim_pl.errors import ConfigurationError

MODULE = "vestim_pl.train"


@pytest.fixture
def write(tmp_path):
    def _write(values: dict, name: str = "hyperparams.json") -> str:
        path = tmp_path / name
        path.write_text(json.dumps(values))
        return str(path)

    return _write


def expanded(arguments: list[str]) -> list[str]:
    found = expand(arguments, MODULE)
    assert found is not None
    return found.arguments


def test_a_command_line_without_a_file_stays_as_it_is():
    assert expand(["+preset=safer", "seed=3"], MODULE) is None
    assert expand(["vestim=null"], MODULE) is None


def test_the_settings_stand_in_the_place_of_the_file_which_is_named_too(write):
    file = write({"LOOKBACK": "200", "MAX_TRAIN_HOURS": "1"})
    assert expanded(["+preset=safer", f"vestim={file}", "seed=3"]) == [
        "+preset=safer", "network=lstm", "sampling=windows", "sampling.lookback=200", "sampling.horizon=1",
        '++trainer.max_time="00:01:00:00"', f"vestim={file}", "seed=3",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("given", "gone", "kept"),
    [
        ("sampling.lookback=50", ["sampling.lookback"], ["sampling.batch_size", "optimizer.lr"]),
        ("scheduler=cosine", ["scheduler", "scheduler.period", "scheduler.factor"], ["optimizer.lr"]),
        ("callbacks.early_stopping=null", ["callbacks.early_stopping.patience"], ["scheduler"]),
        ("~callbacks.early_stopping", ["callbacks.early_stopping.patience"], ["scheduler"]),
        ("sampling=streams", ["sampling", "sampling.batch_size", "sampling.horizon"], ["sampling.lookback"]),
        ("network=gru", ["network"], ["network.hidden_sizes"]),
        ("++optimizer.lr=1e-2", ["optimizer.lr"], ["network"]),
    ],
)
def test_what_is_given_explicitly_wins_and_the_table_says_so(write, given, gone, kept):
    file = write(
        {"MODEL_TYPE": "LSTM", "HIDDEN_UNITS": "8", "LOOKBACK": "200", "BATCH_SIZE": "64", "INITIAL_LR": "0.001",
         "SCHEDULER_TYPE": "StepLR", "LR_PERIOD": "5", "LR_PARAM": "0.5", "VALID_PATIENCE": "3"}
    )  # fmt: skip
    found = expand([f"vestim={file}", given], MODULE)
    settings = {argument.partition("=")[0] for argument in found.arguments if argument != given}
    assert not settings & set(gone)
    assert settings >= set(kept)
    assert " ".join(found.table.split()).count("takes precedence") == len(gone)
    assert given in found.table.replace("\n", " ")


def test_a_grid_is_a_sweep_with_m_and_refused_without_it_with_the_command_to_paste(write):
    file = write({"LOOKBACK": "100,200", "RNN_LAYER_SIZES": "64,32;128,64", "REPETITIONS": 2})
    with pytest.raises(ConfigurationError) as refused:
        expand([f"vestim={file}", "trainer.max_epochs=1"], MODULE)
    assert "8 runs" in str(refused.value)
    assert "\n" not in str(refused.value)
    command = shlex.split(str(refused.value).rpartition("each: ")[2])
    assert command[1:] == ["-m", MODULE, "-m", f"vestim={file}", "trainer.max_epochs=1"]
    found = expanded(command[3:])
    assert {"sampling.lookback=100,200", "network.hidden_sizes=[64,32],[128,64]", "seed=0,1"} <= set(found)
    assert found[0] == "-m"
    assert expanded([f"vestim={file}", "sampling.lookback=9", "network.hidden_sizes=[4]", "seed=0"])


def test_bounds_of_a_search_are_refused_until_each_has_a_value(write):
    file = write({"LOOKBACK": "[100, 400]", "RNN_LAYER_SIZES": "[[32,16],[128,64]]"})
    with pytest.raises(ConfigurationError, match="no search command yet") as refused:
        expand([f"vestim={file}"], MODULE)
    proposed = shlex.split(str(refused.value).rpartition("lower bounds: ")[2].partition(" (")[0])
    assert proposed == ["sampling.lookback=100", "network.hidden_sizes=[32,16]"] or set(proposed) == {
        "sampling.lookback=100", "network.hidden_sizes=[32,16]"
    }  # fmt: skip
    assert expanded([f"vestim={file}", *proposed])


def test_an_expanded_command_line_expands_to_itself(write):
    file = write({"LOOKBACK": "200", "MAX_TRAIN_HOURS": "1", "FEATURE_COLUMNS": ["T cell", "SOC"]})
    once = expanded([f"vestim={file}"])
    assert sorted(expanded(once)) == sorted(once)


def test_two_files_are_refused(write):
    with pytest.raises(ConfigurationError, match="two files"):
        expand([f"vestim={write({})}", "vestim=other.json"], MODULE)


def test_a_file_whose_name_needs_quotes_is_read_and_named(write):
    file = write({"LOOKBACK": "200"}, "my run, no. 1.json")
    for argument in (f"vestim={file}", f"vestim='{file}'"):
        [named] = [each for each in expanded([argument]) if each.startswith("vestim=")]
        assert OverridesParser.create().parse_override(named).value() == file
