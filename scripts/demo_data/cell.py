"""The simulated cell: an LG M50 with the parameters of O'Regan et al. (2022), solved by PyBaMM.

PyBaMM is imported inside the functions, so everything else in this module, and the tests, run without it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["LOWER_CUTOFF_V", "MODEL", "PARAMETERS", "Trace", "measure_capacity", "simulate"]

Array = NDArray[np.float64]

MODEL = "DFN"  # SPMe has errors of up to 0.9 V at -10 degC, because its electrolyte is depleted too early
PARAMETERS = "ORegan2022"
LOWER_CUTOFF_V = 2.5
FULL_V = 4.2
UPPER_EVENT_V = 4.25  # a step of the solver may reach 4.2 V at full charge; a higher voltage is a fault
HEAT_TRANSFER_W_PER_M2_K = 50.0  # a chamber with a strong fan; the published value of 10 is for still air
REFERENCE_DEGC = 25.0
# Half of the default points across the cell take a third of the time; the data card shows what this changes.
MESH = {"x_n": 10, "x_s": 6, "x_p": 10, "r_n": 20, "r_p": 20}


@dataclass(frozen=True)
class Trace:
    """What the cell did, one sample a second, until the end of the current or the lower cut-off.

    Shape:
        - voltage: [T], V.
        - temp_degc: [T], degC.
    """

    voltage: Array
    temp_degc: Array
    reached_cutoff: bool


def _parameters(ambient_degc: float, equilibrium_soc: float) -> Any:
    """Return PyBaMM's parameter values for a rested cell at the chamber's temperature."""
    import pybamm

    values = pybamm.ParameterValues(PARAMETERS)
    values.update(
        {
            "Open-circuit voltage at 100% SOC [V]": FULL_V,
            "Open-circuit voltage at 0% SOC [V]": LOWER_CUTOFF_V,
            "Lower voltage cut-off [V]": LOWER_CUTOFF_V,
        }
    )
    values.set_initial_state(equilibrium_soc)
    values.update(
        {
            "Upper voltage cut-off [V]": UPPER_EVENT_V,
            "Ambient temperature [K]": ambient_degc + 273.15,
            "Initial temperature [K]": ambient_degc + 273.15,
            "Total heat transfer coefficient [W.m-2.K-1]": HEAT_TRANSFER_W_PER_M2_K,
        }
    )
    return values


def _solve(values: Any, times: Array, model: str) -> Any:
    """Solve the cell model at the given times."""
    import pybamm

    cell = getattr(pybamm.lithium_ion, model)({"thermal": "lumped"})
    simulation = pybamm.Simulation(cell, parameter_values=values, solver=pybamm.IDAKLUSolver(), var_pts=MESH)
    # t_eval makes the solver stop at every sample; otherwise it steps over a pulse after a rest.
    return simulation.solve(times, t_interp=times)


def _equilibrium_capacity_ah() -> float:
    """Return the charge between the open-circuit voltages 4.2 V and 2.5 V in Ah."""
    import pybamm

    values = _parameters(REFERENCE_DEGC, 1.0)
    full = values["Initial concentration in negative electrode [mol.m-3]"]
    empty = _parameters(REFERENCE_DEGC, 0.0)["Initial concentration in negative electrode [mol.m-3]"]
    volume = (
        values.evaluate(pybamm.LithiumIonParameters().n.prim.epsilon_s_av)
        * values["Negative electrode thickness [m]"]
        * values["Electrode height [m]"]
        * values["Electrode width [m]"]
    )
    return float((full - empty) * volume * pybamm.constants.F.value / 3600.0)


def measure_capacity(model: str = MODEL) -> float:
    """Discharge the full cell with C/20 at 25 degC down to 2.5 V, as a cycler does, and return the charge in Ah."""
    import pybamm

    current = 0.25
    values = _parameters(REFERENCE_DEGC, 1.0)
    values["Current function [A]"] = current
    cell = getattr(pybamm.lithium_ion, model)({"thermal": "lumped"})
    simulation = pybamm.Simulation(cell, parameter_values=values, solver=pybamm.IDAKLUSolver(), var_pts=MESH)
    solution = simulation.solve([0.0, 30 * 3600.0])
    if "Minimum voltage" not in solution.termination:
        raise RuntimeError(f"The capacity test did not end at the lower cut-off but by: {solution.termination}.")
    return float(solution.t[-1] * current / 3600.0)


def simulate(current: Array, ambient_degc: float, start_soc: float, capacity_ah: float, model: str = MODEL) -> Trace:
    """Drive the cell with a current that is linear between its samples.

    Args:
        current: Current in A, discharge negative.
        ambient_degc: Temperature of the chamber and of the cell at the start, in degC.
        start_soc: State of charge of the rested cell: 1 at 4.2 V, less by the charge over ``capacity_ah``.
        capacity_ah: Measured capacity in Ah, see `measure_capacity`.
        model: Name of PyBaMM's lithium-ion model.

    Returns:
        Voltage and temperature at each second until the end or the lower cut-off.

    Raises:
        RuntimeError: If the cell is charged beyond its limit.

    Shape:
        - current: [T]
    """
    import pybamm

    times = np.arange(len(current), dtype=float)
    values = _parameters(ambient_degc, 1.0 - (1.0 - start_soc) * capacity_ah / _equilibrium_capacity_ah())
    values["Current function [A]"] = pybamm.Interpolant(times, -current, pybamm.t)
    solution = _solve(values, times, model)
    if "Maximum voltage" in solution.termination:
        raise RuntimeError(f"The cell passed {UPPER_EVENT_V} V after {solution.t[-1]:.0f} s: limit the charge current.")
    kept = times[times <= solution.t[-1]]
    return Trace(
        voltage=np.asarray(solution["Terminal voltage [V]"](kept)),
        temp_degc=np.asarray(solution["Volume-averaged cell temperature [C]"](kept)),
        reached_cutoff="Minimum voltage" in solution.termination,
    )
