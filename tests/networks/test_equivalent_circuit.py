"""The circuit is linear in what flows, with coefficients of the state of charge alone, and can learn a real one."""

import pytest
import torch

from vestim_pl.functional.errors import ConfigurationError
from vestim_pl.networks import EquivalentCircuit

INPUTS = ["Temp", "Current", "SOC", "resistor", "RC pair of 50 steps"]
FLOWS = [1, 3, 4]


@torch.no_grad()
def test_it_is_linear_in_current_and_pairs_for_each_state_of_charge():
    circuit, inputs = EquivalentCircuit(INPUTS, [7, 5]).double(), torch.randn(3, 9, 5, dtype=torch.float64)
    still, doubled = inputs.clone(), inputs.clone()
    still[..., FLOWS] = 0
    doubled[..., FLOWS] *= 2
    torch.testing.assert_close(circuit(doubled) - circuit(inputs), circuit(inputs) - circuit(still))
    for flow in FLOWS:
        changed = inputs.clone()
        changed[..., flow] += 1
        assert ((circuit(changed) - circuit(inputs)).abs() > 1e-6).all(), INPUTS[flow]


@torch.no_grad()
def test_the_temperature_acts_through_the_pairs_alone():
    circuit, inputs = EquivalentCircuit(INPUTS, [7]), torch.randn(2, 9, 5)
    hotter = inputs.clone()
    hotter[..., 0] += 3
    assert torch.equal(circuit(hotter), circuit(inputs))


def test_it_learns_an_open_circuit_voltage_and_resistances():
    torch.manual_seed(0)
    inputs = torch.randn(400, 5)
    soc = inputs[:, 2]
    voltage = torch.tanh(soc) + (0.5 + 0.2 * soc.square()) * inputs[:, 1] - torch.sigmoid(soc) * inputs[:, 4]
    circuit = EquivalentCircuit(INPUTS, [24, 24])
    optimizer = torch.optim.Adam(circuit.parameters(), lr=0.02)
    for _ in range(600):
        optimizer.zero_grad()
        loss = (circuit(inputs[None]) - voltage).square().mean()
        loss.backward()
        optimizer.step()
    assert loss.item() < 1e-3 * voltage.var().item()


def test_names_of_the_columns_are_settings():
    circuit = EquivalentCircuit(["z", "I", "T"], [4], state_of_charge="z", temperature="T")
    assert circuit.elements[-1].out_features == 2
    with pytest.raises(ConfigurationError, match="'SOC' is not among the inputs \\(z, I, T\\)"):
        EquivalentCircuit(["z", "I", "T"])
