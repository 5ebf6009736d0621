"""The templates of docs/contributing.md work as they are printed, and their tests pass."""

import importlib.util
import inspect
import re
import sys
from pathlib import Path

import pytest
import torch
import yaml

from tests.networks.test_network import in_chunks
from vestim_pl.networks import Network
from vestim_pl.settings.arguments import argument_types

ROOT = Path(__file__).resolve().parents[1]
PAGE = (ROOT / "docs" / "contributing.md").read_text()
FILES = dict(re.findall(r'```\w+ title="(.*?)"\n(.*?)```', PAGE, flags=re.DOTALL))
SETTINGS = [(name, yaml.safe_load(text)) for name, text in FILES.items() if name.endswith(".yaml")]


@pytest.fixture
def modules(tmp_path, monkeypatch):
    """Every Python template, loaded under the name that its place in the repository would give it."""
    loaded = {}
    for name, text in FILES.items():
        if not name.endswith(".py"):
            continue
        path = tmp_path / Path(name).name
        path.write_text(text)
        dotted = name.removesuffix(".py").replace("/", ".")
        spec = importlib.util.spec_from_file_location(dotted, path)
        loaded[name] = importlib.util.module_from_spec(spec)
        monkeypatch.setitem(sys.modules, dotted, loaded[name])
        spec.loader.exec_module(loaded[name])
    return loaded


def test_there_is_no_such_file_yet():
    assert len(FILES) >= 7
    assert [name for name in FILES if (ROOT / name).exists() or not (ROOT / name).parent.is_dir()] == []


def test_the_tests_of_the_templates_pass(modules):
    tests = [
        function
        for name, module in modules.items()
        if name.startswith("tests/")
        for test, function in inspect.getmembers(module, inspect.isfunction)
        if test.startswith("test_")
    ]
    assert len(tests) >= 4
    for test in tests:
        test()


def test_the_network_keeps_the_contract(modules):
    network = modules["vestim_pl/networks/leaky.py"].LeakyNetwork(3, [12, 7]).eval().double()
    assert isinstance(network, Network)
    inputs = torch.randn(3, 61, 3, dtype=torch.float64)
    whole = network(inputs)
    torch.testing.assert_close(in_chunks(network, inputs, 7), whole, rtol=0, atol=1e-12)
    torch.testing.assert_close(network(inputs, None, 5)[0], whole[0][:, -5:], rtol=0, atol=1e-12)


@pytest.mark.parametrize(("name", "settings"), SETTINGS)
def test_the_settings_are_the_arguments_of_the_template(modules, name, settings):
    if name.startswith("conf/network/"):
        module = modules[f"vestim_pl/networks/{Path(name).stem}.py"]
        expected = {"name", "members", *argument_types(module.LeakyNetwork)} - {"features"}
        assert set(settings) == expected
    else:
        [(key, node)] = settings.items()
        assert key == Path(name).stem
        kind = modules[f"vestim_pl/callbacks/gradients/{key}.py"].WeightGrowth
        assert node.pop("_target_") == f"vestim_pl.callbacks.{kind.__name__}"
        assert set(node) == set(argument_types(kind))
