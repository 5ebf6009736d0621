"""torch.compile of the network: nothing that a checkpoint, an export or a copy sees changes."""

import copy
import functools

import pytest
import torch

from vestim_pl.app.estimator import compile_network
from vestim_pl.deploy.checkpoint import copy_estimator
from vestim_pl.errors import ConfigurationError
from vestim_pl.estimator import VoltageEstimator


@pytest.fixture
def estimator():
    torch.manual_seed(0)
    estimator = VoltageEstimator(["Current", "Temp"], {"name": "GRU", "hidden_sizes": [4]})
    estimator.scaler.fit(torch.randn(20, 2), torch.randn(20))
    return estimator


@pytest.fixture
def calls(monkeypatch):
    """Calls of compiled code, by a compiler that takes no seconds."""
    seen = []

    def count(graph, inputs):
        return lambda *args: seen.append(1) or graph.forward(*args)

    monkeypatch.setattr(torch, "compile", functools.partial(torch.compile, backend=count))
    torch._dynamo.reset()
    return seen


def test_estimator_computes_the_same_by_compiled_code(estimator, calls):
    inputs = torch.randn(2, 5, 2)
    expected, _ = estimator(inputs)
    compile_network(estimator)
    calls.clear()
    volts, _ = estimator(inputs)
    assert calls
    assert torch.allclose(volts, expected)


def test_names_copies_and_checkpoints_do_not_know_of_it(estimator, calls):
    names = list(estimator.state_dict())
    compile_network(estimator)
    assert list(estimator.state_dict()) == names
    calls.clear()
    inputs = torch.randn(2, 5, 2)
    for copied in (copy.deepcopy(estimator), copy_estimator(estimator)):
        copied(inputs)
    assert not calls


def test_machine_without_a_compiler_is_told_in_one_line(estimator, monkeypatch):
    def missing(function):
        raise RuntimeError("No working C++ compiler found\nand much more")

    monkeypatch.setattr(torch, "compile", missing)
    with pytest.raises(
        ConfigurationError, match=r"^compile: true, .*No working C\+\+ compiler found\); set compile=false"
    ):
        compile_network(estimator)
