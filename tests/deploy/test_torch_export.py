"""torch.export: equal to the estimator for every network at any batch and length, and self-contained."""

import json
import subprocess
import sys
import zipfile

import pytest
import torch

from tests.deploy.estimators import FEATURES, KINDS, make_estimator, make_inputs
from tests.pairs import some
from vestim_pl.deploy import torch_export
from vestim_pl.deploy.facts import ModelFacts
from vestim_pl.deploy.torch_export import METADATA, export_torch
from vestim_pl.errors import ConfigurationError, VestimError

pytest.importorskip("torch._higher_order_ops.scan", reason="this torch has no scan")
TOLERANCE = 1e-5  # volts
FACTS = ModelFacts(
    tuple(FEATURES), {"Current": "A"}, {"name": "some"}, "1.2.3", interval=1.0, ranges={"SOC": (0.1, 0.9)}
)


@pytest.fixture(scope="module", params=some(KINDS, fast=["fed"]))
def exported(request, tmp_path_factory):
    estimator = make_estimator(request.param)
    path = tmp_path_factory.mktemp("torch") / "sub" / "model.pt2"
    assert 0 <= export_torch(estimator, path, FACTS) < TOLERANCE
    return estimator, path


@torch.no_grad()
def test_equals_the_estimator_at_any_batch_and_length_whole_and_in_chunks(exported):
    estimator, path = exported
    program = torch.export.load(path).module()
    for batch, length in [(1, 1), (1, 90), (20, 40)]:
        inputs = make_inputs(batch, length)
        expected, expected_state = estimator(inputs, estimator.zero_state(batch))
        volts, *state = program(inputs, *estimator.zero_state(batch))
        torch.testing.assert_close(volts, expected, rtol=0, atol=TOLERANCE)
        torch.testing.assert_close(tuple(state), tuple(expected_state), rtol=0, atol=TOLERANCE)
    state, parts = estimator.zero_state(20), []
    for chunk in inputs.split([1, 1, 7, 31], dim=1):
        volts, *state = program(chunk, *state)
        parts.append(volts)
    torch.testing.assert_close(torch.cat(parts, 1), expected, rtol=0, atol=TOLERANCE)


def test_the_file_says_what_it_is_and_nothing_of_the_machine_it_was_made_on(exported):
    _, path = exported
    extra = {METADATA: ""}
    torch.export.load(path, extra_files=extra)
    assert json.loads(extra[METADATA]) == FACTS.metadata()
    with zipfile.ZipFile(path) as archive:
        assert not any(b".py" in archive.read(name) for name in archive.namelist())


def test_it_runs_where_the_package_is_not_installed(tmp_path):
    path = tmp_path / "model.pt2"
    export_torch(make_estimator("FNN"), path)
    code = (
        "import sys, torch; sys.modules['vestim_pl'] = None; program = torch.export.load(sys.argv[1])\n"
        "specs = program.graph_signature.user_inputs; meta = {n.name: n.meta.get('val') for n in program.graph.nodes}\n"
        "state = [torch.zeros(2, *meta[name].shape[1:]) for name in specs[1:]]\n"
        "print(program.module()(torch.ones(2, 9, 3), *state)[0].shape)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, path], cwd=path.parent, capture_output=True, text=True, check=False
    )
    assert done.stdout.strip() == "torch.Size([2, 9])", done.stderr


def test_a_program_that_computes_something_else_is_not_written(tmp_path, monkeypatch):
    estimator = make_estimator("FNN")
    program = torch_export._program(estimator)
    with torch.no_grad():
        estimator.network.head.bias += 0.01
    monkeypatch.setattr(torch_export, "_program", lambda _: program)
    with pytest.raises(VestimError, match=r"^export: the torch program differs from the estimator by .* nothing was"):
        export_torch(estimator, tmp_path / "model.pt2")
    assert not list(tmp_path.iterdir())


def test_a_network_that_cannot_be_exported_for_any_length_is_refused_in_one_line(monkeypatch):
    estimator = make_estimator("FNN")
    monkeypatch.setattr(torch_export, "copy_estimator", lambda *_: estimator)
    monkeypatch.setattr(estimator.network, "forward", lambda inputs, state, last=None: (inputs[..., 0].item(), state))
    with pytest.raises(ConfigurationError, match=r"^format: torch .* cannot export FNN for any batch and") as caught:
        export_torch(estimator, "model.pt2")
    assert "\n" not in str(caught.value)
