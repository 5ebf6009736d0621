"""ONNX, torch.export and C equal torch on every demo test recording, whole and in chunks."""

from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.deploy.c_code.c_library import CLibrary
from tests.deploy.estimators import FEATURES, OPTIONS
from tests.pairs import some
from vestim_pl.deploy.c_code.generator import c_files, c_program
from vestim_pl.deploy.facts import model_facts
from vestim_pl.deploy.onnx_export import export_onnx, onnx_runner
from vestim_pl.deploy.torch_export import export_torch
from vestim_pl.estimator import VoltageEstimator

pd = pytest.importorskip("pandas")
DEMO = Path(str(files("vestim_pl.data"))) / "demo"
TOLERANCE = 1e-5  # volts
CHUNKS = [1, 7, 300]
SPECS = OPTIONS | {
    "LSTM": {"hidden_sizes": [16], "direct": [8], "members": 2},
    # The default size: norms over heads of two features, as in OPTIONS, round to 9 microvolts in torch itself.
    "Transformer": {"hidden_sizes": [32], "heads": 4, "lookback": 30},
}


def read(split):
    files = sorted((DEMO / split).glob("*.parquet"))
    return [torch.tensor(pd.read_parquet(file)[FEATURES].to_numpy(np.float32)) for file in files]


@pytest.fixture(scope="module")
def recordings():
    found = read("test")
    assert len(found) == 20
    return found


@pytest.fixture(scope="module", params=some(SPECS, fast=["LSTM"]))
def estimator(request):
    torch.manual_seed(3)
    estimator = VoltageEstimator(
        FEATURES, {"name": request.param, **SPECS[request.param]}, rc_pairs={"steps": [5, 50, 500]}
    )
    rows = torch.cat([estimator.rc_pairs(each[None], torch.zeros(1, 3))[0][0] for each in read("train")])
    estimator.scaler.fit(rows, 3.7 + 0.3 * torch.randn(len(rows)))
    return estimator.eval()


@pytest.fixture(scope="module")
@torch.inference_mode()
def expected(estimator, recordings):
    return [estimator(each[None])[0][0] for each in recordings]


def check(model, estimator, recordings, expected):
    """Run the recordings side by side, whole and in chunks; the shorter ones are filled up and cut again."""
    longest = max(map(len, recordings))
    lanes = torch.stack([torch.cat([each, each[-1:].expand(longest - len(each), -1)]) for each in recordings])
    whole, _ = model(lanes, estimator.zero_state(len(lanes)))
    state, parts = estimator.zero_state(len(lanes)), []
    for chunk in lanes.split([*CHUNKS, longest - sum(CHUNKS)], dim=1):
        volts, state = model(chunk.contiguous(), state)
        parts.append(volts)
    for volts in (whole, torch.cat(parts, 1)):
        for lane, reference in zip(volts, expected, strict=True):
            torch.testing.assert_close(lane[: len(reference)], reference, rtol=0, atol=TOLERANCE)


@pytest.mark.slow
def test_onnx(estimator, recordings, expected, tmp_path):
    pytest.importorskip("onnxruntime", reason="the extra 'onnx' is not installed")
    export_onnx(estimator, tmp_path / "model.onnx")
    check(onnx_runner((tmp_path / "model.onnx").read_bytes()), estimator, recordings, expected)


@pytest.mark.slow
def test_torch_export(estimator, recordings, expected, tmp_path):
    pytest.importorskip("torch._higher_order_ops.scan", reason="this torch has no scan")
    export_torch(estimator, tmp_path / "model.pt2")
    program = torch.export.load(tmp_path / "model.pt2").module()

    def run(inputs, state):
        volts, *carried = program(inputs, *state)
        return volts, carried

    with torch.no_grad():
        check(run, estimator, recordings, expected)


def test_c(estimator, recordings, expected, tmp_path):
    files = c_files(estimator, c_program(estimator), model_facts(estimator))
    library = CLibrary(files, "cell_voltage", tmp_path)
    for recording, reference in zip(recordings, expected, strict=True):
        whole, _ = library.run(recording.numpy())
        np.testing.assert_allclose(whole, reference.numpy(), rtol=0, atol=TOLERANCE)
        state, parts = None, []
        for chunk in recording.split([*CHUNKS, len(recording) - sum(CHUNKS)]):
            volts, state = library.run(chunk.numpy(), state)
            parts.append(volts)
        assert np.array_equal(np.concatenate(parts), whole)
