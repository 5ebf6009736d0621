"""The plan of the demo data set: trips, their lengths, temperatures and splits.

Each trip belongs to one split. A trip at five temperatures stays in that split, so no speed profile of the test split
is in the training.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from enum import StrEnum

import numpy as np

__all__ = ["AMBIENTS_DEGC", "SEED", "TRIPS", "Character", "Split", "Trip", "recording_name", "trip_rng"]

SEED = 2022
AMBIENTS_DEGC = (-10, 0, 10, 25, 40)


class Character(StrEnum):
    """How a trip is driven."""

    URBAN = "urban"
    HIGHWAY = "highway"
    AGGRESSIVE = "aggressive"
    MIXED = "mixed"


class Split(StrEnum):
    """Which part of the data set a trip belongs to; the value is the folder's name."""

    TRAIN = "train"
    VAL = "val"
    TEST = "test"


@dataclass(frozen=True)
class Trip:
    """One speed profile and the cell's state at its start.

    Args:
        character: How it is driven.
        number: Counts the trips of one character.
        split: The split it belongs to, at every temperature.
        start_soc: State of charge of the rested cell at the start, 0..1.
        minutes: Planned length; a recording is shorter where the cell is empty before.
    """

    character: Character
    number: int
    split: Split
    start_soc: float
    minutes: int

    @property
    def name(self) -> str:
        """The trip's name, such as ``urban1``."""
        return f"{self.character.value}{self.number}"


# Train covers full to nearly empty; val and test start and end inside that range.
TRIPS = (
    Trip(Character.HIGHWAY, 1, Split.TRAIN, 1.00, 40),
    Trip(Character.HIGHWAY, 2, Split.TRAIN, 0.50, 35),
    Trip(Character.AGGRESSIVE, 1, Split.TRAIN, 1.00, 40),
    Trip(Character.AGGRESSIVE, 2, Split.TRAIN, 0.55, 35),
    Trip(Character.MIXED, 1, Split.TRAIN, 0.90, 35),
    Trip(Character.URBAN, 1, Split.TRAIN, 0.75, 20),
    Trip(Character.URBAN, 2, Split.TRAIN, 0.30, 20),
    Trip(Character.MIXED, 2, Split.VAL, 0.95, 22),
    Trip(Character.MIXED, 3, Split.VAL, 0.50, 22),
    Trip(Character.URBAN, 3, Split.TEST, 0.60, 15),
    Trip(Character.HIGHWAY, 3, Split.TEST, 0.75, 20),
    Trip(Character.AGGRESSIVE, 3, Split.TEST, 0.90, 20),
    Trip(Character.MIXED, 4, Split.TEST, 0.45, 22),
)


def recording_name(trip: Trip, ambient_degc: int) -> str:
    """Return the name of a recording; a temperature below zero is written with an n.

    Example:
        >>> recording_name(TRIPS[0], -10)
        'highway1_n10degC'
    """
    sign = "n" if ambient_degc < 0 else ""
    return f"{trip.name}_{sign}{abs(ambient_degc)}degC"


def trip_rng(seed: int, name: str) -> np.random.Generator:
    """Return the random generator that belongs to one name.

    Each name has its own stream, so adding or dropping a trip leaves the others as they were.
    """
    return np.random.default_rng([seed, zlib.crc32(name.encode())])
