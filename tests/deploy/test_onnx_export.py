"""ONNX: equal to the estimator for every network at any batch and length, the state carried from chunk to chunk."""

import json

import pytest
import torch
from torch import nn

from tests.deploy.estimators import FEATURES, KINDS, make_estimator, make_inputs
from tests.pairs import some
from vestim_pl.deploy import onnx_export
from vestim_pl.deploy.comparison import largest_difference
from vestim_pl.deploy.facts import model_facts
from vestim_pl.deploy.onnx_export import export_onnx, onnx_model, onnx_runner
from vestim_pl.errors import ConfigurationError, VestimError

onnx = pytest.importorskip("onnx", reason="the extra 'onnx' is not installed")
onnxruntime = pytest.importorskip("onnxruntime", reason="the extra 'onnx' is not installed")

TOLERANCE = 1e-5  # volts


@pytest.fixture(scope="module", params=some(KINDS, fast=["LSTM", "fed"]))
def exported(request, tmp_path_factory):
    estimator = make_estimator(request.param)
    path = tmp_path_factory.mktemp("onnx") / "sub" / "model.onnx"
    difference = export_onnx(estimator, path, model_facts(estimator, {"temperature": "T"}))
    assert 0 <= difference < TOLERANCE
    return estimator, path


def run(session, inputs, state):
    feeds = [inputs.numpy(), *(tensor.numpy() for tensor in state)]
    volts, *state = session.run(None, {a.name: f for a, f in zip(session.get_inputs(), feeds, strict=True)})
    return torch.from_numpy(volts), [torch.from_numpy(tensor) for tensor in state]


@torch.no_grad()
def test_equals_the_estimator_at_any_batch_and_length(exported):
    estimator, path = exported
    session = onnxruntime.InferenceSession(path)
    for batch, length in [(1, 1), (1, 400), (5, 1), (5, 37)]:
        inputs = make_inputs(batch, length)
        state = estimator.zero_state(batch)
        expected, expected_state = estimator.eval()(inputs, state)
        volts, state = run(session, inputs, state)
        torch.testing.assert_close(volts, expected, rtol=0, atol=TOLERANCE)
        torch.testing.assert_close(tuple(state), tuple(expected_state), rtol=0, atol=TOLERANCE)


@torch.no_grad()
def test_state_is_carried_from_chunk_to_chunk(exported):
    estimator, path = exported
    session = onnxruntime.InferenceSession(path)
    inputs = make_inputs(3, 60)
    expected, _ = estimator.eval()(inputs)
    state, parts = estimator.zero_state(3), []
    for chunk in inputs.split([1, 1, 20, 7, 31], dim=1):
        volts, state = run(session, chunk.contiguous(), state)
        parts.append(volts)
    torch.testing.assert_close(torch.cat(parts, 1), expected, rtol=0, atol=TOLERANCE)


def test_the_file_says_what_it_takes_and_nothing_of_the_machine_it_was_made_on(exported):
    estimator, path = exported
    model = onnx.load(path)
    onnx.checker.check_model(model, full_check=True)
    dimensions = {
        value.name: [dimension.dim_param or dimension.dim_value for dimension in value.type.tensor_type.shape.dim]
        for value in (*model.graph.input, *model.graph.output)
    }
    assert dimensions["inputs"] == ["batch", "length", 3]
    assert dimensions["voltage"] == ["batch", "length"]
    states = [name for name in dimensions if name.startswith("state_")]
    assert len(states) == len(estimator.zero_state(1))
    assert all(dimensions[name] == dimensions[f"next_{name}"] and dimensions[name][0] == "batch" for name in states)

    metadata = {entry.key: json.loads(entry.value) for entry in model.metadata_props}
    assert metadata["features"] == FEATURES
    assert metadata["units"] == {"SOC": "0..1", "Current": "A, discharge negative"}
    assert metadata["network"] == estimator.hparams["network"]
    assert b".py" not in path.read_bytes()


def test_the_estimator_is_left_alone():
    estimator = make_estimator("FNN").train()
    drawn = torch.get_rng_state()
    onnx_model(estimator)
    assert estimator.training
    assert all(parameter.requires_grad for parameter in estimator.parameters())
    assert torch.equal(torch.get_rng_state(), drawn)


def test_a_model_that_computes_something_else_is_not_written(tmp_path, monkeypatch):
    other = onnx_model(make_estimator("FNN"))
    estimator = make_estimator("FNN")
    with torch.no_grad():
        estimator.network.head.bias += 0.01
    assert largest_difference(onnx_runner(other.SerializeToString()), estimator) == pytest.approx(
        0.01 * float(estimator.scaler.target_std), rel=1e-2
    )
    monkeypatch.setattr(onnx_export, "onnx_model", lambda *_: other)
    with pytest.raises(VestimError, match=r"differs from the estimator by .* nothing was written"):
        export_onnx(estimator, tmp_path / "model.onnx")
    assert not (tmp_path / "model.onnx").exists()


class FixedLength(nn.Module):
    """A network that works at the length of the example only."""

    def forward(self, inputs, state=None):
        return inputs[..., 0] + torch.arange(3.0), state or self.zero_state(len(inputs))

    def zero_state(self, batch_size, device=None, dtype=None):
        return (torch.zeros(batch_size),)


@pytest.mark.parametrize("replacement", [FixedLength(), nn.GRU(3, 1, num_layers=2, batch_first=True)])
def test_a_network_that_cannot_be_exported_for_any_length_is_refused_in_one_line(monkeypatch, replacement):
    estimator = make_estimator("FNN")
    replacement.zero_state = FixedLength().zero_state
    monkeypatch.setattr(onnx_export, "copy_estimator", lambda *_: estimator)
    estimator.network = replacement
    with pytest.raises(ConfigurationError, match=r"^network.name: FNN cannot be exported to ONNX for any") as caught:
        onnx_model(estimator)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("missing", ["onnx", "onnxscript", "onnxruntime"])
def test_a_package_that_is_not_installed_is_named_with_the_way_to_it(monkeypatch, missing):
    found = onnx_export.find_spec
    monkeypatch.setattr(onnx_export, "find_spec", lambda name: None if name == missing else found(name))
    with pytest.raises(
        ConfigurationError, match=rf"^export: {missing} not installed; run pip install 'vestim_pl\[onnx\]'"
    ):
        onnx_model(make_estimator("FNN"))


def test_long_inputs_stay_accurate(exported):
    estimator, path = exported
    inputs = make_inputs(1, 3000)
    with torch.no_grad():
        expected, _ = estimator.eval()(inputs)
    volts, _ = run(onnxruntime.InferenceSession(path), inputs, estimator.zero_state(1))
    torch.testing.assert_close(volts, expected, rtol=0, atol=TOLERANCE)
