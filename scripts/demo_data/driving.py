"""Speed profiles of four kinds of driving: accelerate, hold, brake, stop, park.

Shape legend: T seconds, one sample a second.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from demo_data.plan import Character

__all__ = ["STYLES", "Drive", "Style", "make_drive"]

Array = NDArray[np.float64]
Range = tuple[float, float]

_HANN_3S = np.array([0.25, 0.5, 0.25])


@dataclass(frozen=True)
class Style:
    """What distinguishes one character from another; every range is drawn from uniformly.

    Args:
        cruise_kmh: Speed that is aimed for.
        cruise_s: How long it is held.
        accelerate: Mean acceleration up to it, m/s^2.
        brake: Mean deceleration, m/s^2.
        stop_s: Standstill with the car switched on.
        stop_probability: Chance that a manoeuvre ends at standstill instead of at another speed.
        ripple: Standard deviation of the speed while it is held, as a fraction of it.
    """

    cruise_kmh: Range
    cruise_s: Range
    accelerate: Range
    brake: Range
    stop_s: Range
    stop_probability: float
    ripple: float


STYLES = {
    Character.URBAN: Style((22, 58), (6, 50), (0.7, 1.6), (0.8, 1.9), (5, 40), 0.65, 0.05),
    Character.HIGHWAY: Style((85, 125), (40, 200), (0.5, 1.1), (0.4, 1.2), (5, 20), 0.06, 0.02),
    Character.AGGRESSIVE: Style((45, 130), (5, 45), (1.3, 2.6), (1.5, 3.3), (3, 15), 0.30, 0.04),
}


@dataclass(frozen=True)
class Drive:
    """A trip as it was driven.

    Shape:
        - speed_mps: [T], m/s.
        - slope: [T], rise over run.
        - parked: [T], true where the car is switched off and the cell rests.
    """

    speed_mps: Array
    slope: Array
    parked: NDArray[np.bool_]


def _wander(rng: np.random.Generator, length: int, deviation: float, memory_s: float) -> Array:
    """Return a first-order random walk that returns to zero: [T]."""
    keep = np.exp(-1.0 / memory_s)
    kicks = rng.normal(0.0, deviation * np.sqrt(1.0 - keep**2), length)
    values = np.empty(length)
    value = rng.normal(0.0, deviation)
    for step in range(length):
        value = keep * value + kicks[step]
        values[step] = value
    return values


def _change(rng: np.random.Generator, start: float, end: float, rate: float) -> Array:
    """Return the speeds from one to another, m/s: gentle at both ends, with the strongest pull before the middle."""
    seconds = max(2, round(abs(end - start) / rate))
    progress = np.arange(1, seconds + 1) / seconds
    skew = rng.uniform(0.75, 1.0)
    return start + (end - start) * 0.5 * (1.0 - np.cos(np.pi * progress**skew))


def _manoeuvre(rng: np.random.Generator, style: Style, speed: float) -> Array:
    """Return one manoeuvre from the given speed: change to a new speed, hold it, and perhaps stop: [T]."""
    aim = rng.uniform(*style.cruise_kmh) / 3.6
    rate = rng.uniform(*(style.accelerate if aim > speed else style.brake))
    hold = round(rng.uniform(*style.cruise_s))
    ripple = _wander(rng, hold, style.ripple * aim, memory_s=12.0) * np.minimum(1.0, np.arange(hold) / 5.0)
    parts = [_change(rng, speed, aim, rate), aim + ripple]
    if rng.random() < style.stop_probability:
        parts += [_change(rng, float(parts[-1][-1]), 0.0, rng.uniform(*style.brake))]
        parts += [np.zeros(round(rng.uniform(*style.stop_s)))]
    return np.concatenate(parts)


def _block(rng: np.random.Generator, character: Character, seconds: float) -> Array:
    """Drive in one character for about the given time, from standstill to standstill: [T]."""
    style = STYLES[character]
    parts: list[Array] = []
    speed, driven = 0.0, 0
    while driven < seconds:
        parts.append(_manoeuvre(rng, style, speed))
        speed, driven = float(parts[-1][-1]), driven + len(parts[-1])
    parts.append(_change(rng, speed, 0.0, rng.uniform(*style.brake)))
    return np.convolve(np.concatenate(parts), _HANN_3S, mode="same")


def make_drive(rng: np.random.Generator, character: Character, seconds: int) -> Drive:
    """Drive for a given time in a given character, with parked pauses in between.

    A mixed drive changes its character from block to block. Each drive begins and ends parked, so the recording shows
    the rested cell at its start and the relaxation at its end.

    Args:
        rng: Source of every random choice.
        character: How to drive.
        seconds: Length of the drive.

    Returns:
        The drive, exactly ``seconds`` long.
    """
    parts: list[tuple[Array, bool]] = [(np.zeros(round(rng.uniform(20, 60))), True)]
    closing = round(rng.uniform(90, 180))
    cycle = list(STYLES) if character is Character.MIXED else [character]
    offset = int(rng.integers(len(cycle)))
    count, block_s = 0, (180, 360) if character is Character.MIXED else (480, 780)
    while (left := seconds - closing - sum(len(part) for part, _ in parts)) > 120:  # less than two minutes get no block
        length = min(rng.uniform(*block_s), left - 60)
        parts.append((_block(rng, cycle[(offset + count) % len(cycle)], length), False))
        if len(cycle) == 1 or count % 2 == 1:  # every second change of a mixed drive has no pause
            parts.append((np.zeros(round(rng.uniform(60, 200))), True))
        count += 1
    speed = np.concatenate([part for part, _ in parts])[: seconds - closing]
    parked = np.concatenate([np.full(len(part), still) for part, still in parts])[: seconds - closing]
    # The final rest may cut into a block, so the car stops before it.
    halt = np.minimum(1.0, np.arange(len(speed), 0, -1) / 20.0)
    rest = seconds - len(speed)
    speed = np.append(np.maximum(speed * halt, 0.0), np.zeros(rest))
    parked = np.append(parked, np.ones(rest, dtype=bool))
    slope = np.clip(_wander(rng, seconds, 0.012, memory_s=45.0), -0.05, 0.05)
    return Drive(speed_mps=speed, slope=slope, parked=parked)
