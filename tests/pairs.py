"""Covering arrays, which keep a matrix of settings small enough for the fast lane."""

from collections.abc import Iterable, Sequence
from itertools import combinations, cycle, islice, product
from typing import Any

import pytest


def covering_rows(factors: Sequence[Sequence[Any]]) -> list[tuple[Any, ...]]:
    """Choose combinations of settings in which every pair of values of two factors occurs.

    Greedy and deterministic: each row is the first of those that cover the most pairs that are still missing.

    Args:
        factors: Values of each factor, at least two factors.

    """
    rows = list(product(*(range(len(factor)) for factor in factors)))
    missing = set().union(*map(_pairs, rows))
    chosen = []
    while missing:
        best = max(rows, key=lambda row: len(missing & _pairs(row)))
        chosen.append(best)
        missing -= _pairs(best)
    return [tuple(factor[index] for factor, index in zip(factors, row, strict=True)) for row in chosen]


def pairwise(*factors: Iterable[Any]) -> list[Any]:
    """Parameters for every combination of the factors; those that no pair of values needs are marked ``slow``.

    The fast lane then sees every pair of settings, and ``scripts/test --full`` the whole product.
    """
    values = [list(factor) for factor in factors]
    fast = covering_rows(values)
    return [pytest.param(*row, marks=() if row in fast else pytest.mark.slow) for row in product(*values)]


def rows_in_turn(factors: Sequence[Sequence[Any]]) -> list[tuple[Any, ...]]:
    """Choose combinations of settings in which every value of every factor occurs; values of short factors repeat."""
    return list(islice(zip(*map(cycle, factors), strict=False), max(map(len, factors))))


def in_turn(*factors: Iterable[Any]) -> list[Any]:
    """Parameters for every combination of independent factors; the fast lane has every value, but not every pair."""
    values = [list(factor) for factor in factors]
    fast = rows_in_turn(values)
    return [pytest.param(*row, marks=() if row in fast else pytest.mark.slow) for row in product(*values)]


def some(values: Iterable[Any], fast: Iterable[Any]) -> list[Any]:
    """Parameters for all values; those that are not in ``fast`` are marked ``slow``."""
    fast, values = list(fast), list(values)
    unknown = [value for value in fast if value not in values]
    assert not unknown, f"{unknown} are not among the values"
    return [value if value in fast else pytest.param(value, marks=pytest.mark.slow) for value in values]


def _pairs(row: tuple[int, ...]) -> set[tuple[tuple[int, int], tuple[int, int]]]:
    return set(combinations(enumerate(row), 2))
