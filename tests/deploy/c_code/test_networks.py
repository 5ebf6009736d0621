"""C code equals the estimator for every kind of network, whole, in chunks, and for several cells in turn."""

import numpy as np
import pytest
import torch
from torch import nn

from tests.deploy.c_code.c_library import CLibrary
from tests.deploy.estimators import FEATURES, KINDS, make_estimator, make_inputs, randomise
from tests.pairs import some
from vestim_pl.deploy.c_code.generator import c_files, c_program
from vestim_pl.deploy.c_code.quantization import with_rounded_weights
from vestim_pl.deploy.facts import model_facts
from vestim_pl.errors import ConfigurationError
from vestim_pl.estimator import VoltageEstimator

TOLERANCE = 1e-5  # volts

VARIANTS = {
    **{name: lambda name=name: make_estimator(name) for name in KINDS},
    "GRU, layer norm": lambda: make_estimator("GRU", layer_norm=True),
    "LSTM_EMA, members": lambda: make_estimator("LSTM_EMA", members=3, layer_norm=True, direct=[4]),
    "LSTM_LPF, one tap": lambda: make_estimator("LSTM_LPF", taps=1),
    "FNN, no memory": lambda: make_estimator("FNN", history=1, hidden_sizes=[7, 5]),
    "FNN, layer norm": lambda: make_estimator("FNN", layer_norm=True, members=2),
    "Transformer, members": lambda: make_estimator("Transformer", members=2, direct=[6]),
    "slow RC pairs": lambda: randomise(
        VoltageEstimator(FEATURES, {"name": "GRU", "hidden_sizes": [6]}, rc_pairs={"steps": [5, 500, 5000]})
    ),
    "wide": lambda: make_estimator("LSTM", hidden_sizes=[100, 70], layer_norm=False),
}


@pytest.fixture(params=VARIANTS)
def estimator(request):
    return VARIANTS[request.param]()


def compiled(estimator, folder, quantize=False):
    program = c_program(estimator, "cell", quantize)
    return CLibrary(c_files(estimator, program, model_facts(estimator)), "cell", folder), program


@torch.inference_mode()
def expected_volts(estimator, rows):
    return estimator(rows.unsqueeze(0))[0][0].numpy()


def test_equals_the_estimator_whole_and_in_chunks_and_costs_what_is_said(estimator, tmp_path):
    library, program = compiled(estimator, tmp_path)
    rows = make_inputs(1, 1500)[0]
    expected = expected_volts(estimator, rows)
    whole, last = library.run(rows.numpy())
    np.testing.assert_allclose(whole, expected, rtol=0, atol=TOLERANCE)
    assert np.ptp(expected) > 0.01  # otherwise the test proves nothing

    state, parts = None, []
    for chunk in rows.split([1, 1, 98, 7, 893, 500]):
        volts, state = library.run(chunk.numpy(), state)
        library.run(make_inputs(1, 5, seed=1)[0].numpy())  # another cell between them changes nothing
        parts.append(volts)
    assert np.array_equal(np.concatenate(parts), whole)
    assert state == last
    assert library.state_bytes == program.state_bytes


@pytest.mark.parametrize("name", some(KINDS, fast=["FNN", "LSTM", "Transformer", "fed"]))
def test_8_bit_weights_equal_the_estimator_with_rounded_weights(name, tmp_path):
    estimator = make_estimator(name)
    library, program = compiled(estimator, tmp_path, quantize=True)
    rows = make_inputs(1, 400)[0]
    volts, _ = library.run(rows.numpy())
    np.testing.assert_allclose(volts, expected_volts(with_rounded_weights(estimator), rows), rtol=0, atol=TOLERANCE)
    rounding = np.abs(volts - expected_volts(estimator, rows)).max()
    assert TOLERANCE < rounding < 0.05  # it does round, and not grossly
    assert program.flash_bytes < 0.65 * c_program(estimator).flash_bytes  # small networks have many biases


def test_a_non_finite_input_gives_nan_and_leaves_the_state_unchanged(tmp_path):
    library, _ = compiled(make_estimator("fed"), tmp_path)
    rows = make_inputs(1, 20)[0].numpy()
    _, state = library.run(rows)
    for value in (np.nan, np.inf, -np.inf):
        for column in range(3):
            bad = rows[:1].copy()
            bad[0, column] = value
            volts, after = library.run(bad, state)
            assert np.isnan(volts).all()
            assert after == state


def test_extreme_but_finite_weights_saturate_as_in_torch(tmp_path):
    estimator = make_estimator("GRU")
    with torch.no_grad():
        for parameter in estimator.network.layers.parameters():
            parameter *= 1e3  # gates far beyond the range of expf
    rows = make_inputs(1, 50)[0]
    volts, _ = compiled(estimator, tmp_path)[0].run(rows.numpy())
    assert np.isfinite(volts).all()
    # the sign of a sum of thousands may turn on its rounding, so only most steps are compared
    assert np.median(np.abs(volts - expected_volts(estimator, rows))) < TOLERANCE


class Unknown(nn.Module):
    """A network that nobody has written C code for."""


def test_a_network_without_c_code_is_refused_in_one_line():
    estimator = make_estimator("FNN")
    estimator.network = Unknown()
    with pytest.raises(ConfigurationError, match=r"^format: Unknown has no C code; use format=onnx") as caught:
        c_program(estimator)
    assert "\n" not in str(caught.value)
