from pathlib import Path

import pytest

from vestim_pl.reports.run_folder import RunFolder
from vestim_pl.reports.run_words import run_in_words

CONFIG = {
    "network": {"name": "GRU", "hidden_sizes": [64, 32], "members": 1, "direct": []},
    "sampling": {"lookback": 400, "batch_size": 256},
    "optimizer": {"name": "Adam", "lr": 1e-4},
    "data": {"root": "demo", "rc_pairs": []},
}


def words(**sections):
    return run_in_words(RunFolder(Path(), config=CONFIG | sections).setting)


def test_a_missing_part_is_left_out():
    assert words() == "GRU [64, 32], lookback 400, batch size 256, Adam, learning rate 0.0001, data demo"


def test_several_networks_are_described_with_the_size_of_each():
    network = {"name": "LSTM", "hidden_sizes": [32], "members": 16, "direct": [64, 64]}
    line = words(network=network, data={"root": "demo", "rc_pairs": [5, 50]})
    assert line.startswith("mean of 16 x LSTM [32] with direct path [64, 64], RC pairs [5, 50], lookback 400, ")
    assert "batch size 256 each" in line


@pytest.mark.parametrize("section", ["network", "sampling", "optimizer"])
def test_a_run_without_them_is_not_line(section):
    assert words(**{section: {}}) == ""
