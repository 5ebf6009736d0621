"""Compute one cell's current from the speed of a small electric car with a 96s10p pack and battery management limits.

Discharge is negative in every quantity, as in the files. Shape legend: T seconds, one sample a second.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from demo_data.driving import Drive

__all__ = ["cell_current", "cell_power", "charge_limit", "discharge_limit", "estimated_resistance", "wheel_power"]

Array = NDArray[np.float64]

MASS_KG = 1350.0
ROTATING_MASS = 1.05
ROLLING = 0.010
DRAG_AREA_M2 = 0.62
AIR_KG_PER_M3 = 1.2
GRAVITY = 9.81
DRIVE_EFFICIENCY = 0.88
REGEN_EFFICIENCY = 0.70
REGEN_FADE_MPS = (1.5, 5.0)  # below the first speed only the friction brakes brake, above the second only the motor
MOTOR_W = 58e3
AUXILIARY_W = 350.0
HEATER_W_PER_K = 45.0  # per degree below 18 degC outside
COOLER_W_PER_K = 60.0  # per degree above 24 degC outside
CELLS = 96 * 10

# The battery management's model of the cell: open-circuit voltage over SOC, resistance over temperature.
_OCV_SOC = np.array([0.0, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0])
_OCV_V = np.array([2.50, 3.08, 3.24, 3.43, 3.53, 3.61, 3.69, 3.80, 3.90, 4.00, 4.09, 4.19])
_RESISTANCE_25_OHM = 0.025
_RESISTANCE_ACTIVATION_K = 1960.0
_LIMIT_DEGC = np.array([-10.0, 0.0, 10.0, 25.0, 40.0])
_DISCHARGE_LIMIT_A = np.array([6.0, 10.0, 15.0, 17.0, 17.0])
_CHARGE_LIMIT_A = np.array([1.5, 3.0, 6.0, 8.0, 8.0])
_LOWEST_V, _HIGHEST_V = 2.75, 4.13


def estimated_resistance(temp_degc: float) -> float:
    """Return the resistance that the battery management assumes, in ohm: larger in the cold."""
    return float(_RESISTANCE_25_OHM * np.exp(_RESISTANCE_ACTIVATION_K * (1.0 / (temp_degc + 273.15) - 1.0 / 298.15)))


def discharge_limit(temp_degc: float) -> float:
    """Return the largest discharge current allowed at a temperature, in A, as a positive number."""
    return float(np.interp(temp_degc, _LIMIT_DEGC, _DISCHARGE_LIMIT_A))


def charge_limit(temp_degc: float) -> float:
    """Return the largest charge current allowed at a temperature, in A: small in the cold, against lithium plating."""
    return float(np.interp(temp_degc, _LIMIT_DEGC, _CHARGE_LIMIT_A))


def wheel_power(drive: Drive) -> Array:
    """Return the mechanical power at the wheels in W, positive when driving: [T]."""
    speed = drive.speed_mps
    force = MASS_KG * (
        ROTATING_MASS * np.gradient(speed) + GRAVITY * (ROLLING * np.sign(speed) + np.sin(np.arctan(drive.slope)))
    )
    return speed * (force + 0.5 * AIR_KG_PER_M3 * DRAG_AREA_M2 * speed**2)


def auxiliary_power(ambient_degc: float) -> float:
    """Return what lights, electronics and the cabin's heating or cooling draw, in W."""
    return AUXILIARY_W + HEATER_W_PER_K * max(0.0, 18.0 - ambient_degc) + COOLER_W_PER_K * max(0.0, ambient_degc - 24.0)


def cell_power(drive: Drive, ambient_degc: float) -> Array:
    """Return the power drawn from one cell in W, discharge negative, zero while parked: [T]."""
    wheel = np.clip(wheel_power(drive), -MOTOR_W, MOTOR_W)
    share = np.clip((drive.speed_mps - REGEN_FADE_MPS[0]) / (REGEN_FADE_MPS[1] - REGEN_FADE_MPS[0]), 0.0, 1.0)
    motor = np.where(wheel > 0, wheel / DRIVE_EFFICIENCY, wheel * REGEN_EFFICIENCY * share)
    return np.where(drive.parked, 0.0, -(motor + auxiliary_power(ambient_degc)) / CELLS)


def _limited_current(power: float, soc: float, resistance: float, discharge_a: float, charge_a: float) -> float:
    """Return the current in A that delivers a power in W (both discharge negative) within the limits."""
    ocv = float(np.interp(soc, _OCV_SOC, _OCV_V))
    # power = current * (ocv + current * resistance); beyond the largest power of the cell there is no real root
    root = max(ocv**2 + 4.0 * resistance * power, 0.0)
    current = (np.sqrt(root) - ocv) / (2.0 * resistance)
    lowest = max(-discharge_a, min(0.0, (_LOWEST_V - ocv) / resistance))
    highest = min(charge_a, max(0.0, (_HIGHEST_V - ocv) / resistance))
    return float(min(max(current, lowest), highest))


def cell_current(power: Array, ambient_degc: float, start_soc: float, capacity_ah: float) -> Array:
    """Return the current that the battery management lets through to meet a power.

    It counts charge, estimates the cell's voltage from it, and limits the current: by temperature, and so that the
    estimated voltage stays within 2.75 V and 4.13 V. The cell itself knows nothing of this estimate, and may well reach
    its lower cut-off earlier.

    Args:
        power: Power of one cell in W, discharge negative.
        ambient_degc: Temperature of the chamber in degC.
        start_soc: State of charge at the start, 0..1.
        capacity_ah: Capacity of the cell in Ah.

    Returns:
        Current in A, discharge negative.

    Shape:
        - power: [T]
        - output: [T]
    """
    resistance = estimated_resistance(ambient_degc)
    discharge_a, charge_a = discharge_limit(ambient_degc), charge_limit(ambient_degc)
    current = np.empty_like(power)
    soc = start_soc
    for step, wanted in enumerate(power):
        current[step] = _limited_current(float(wanted), soc, resistance, discharge_a, charge_a)
        soc += current[step] / (3600.0 * capacity_ah)
    return current
