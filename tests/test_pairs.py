from itertools import combinations, product

import pytest

from tests.callbacks.fault_injector import SITES
from tests.integration import test_fault_matrix as faults
from tests.pairs import covering_rows, in_turn, pairwise, rows_in_turn, some

FACTORS = (SITES, list(faults.VALUES), faults.PRECISIONS, [1, 2], list(faults.MODES), [True, False])


def test_every_pair_of_settings_is_in_the_rows_of_the_fast_lane():
    rows = covering_rows(FACTORS)
    for (first, values), (second, others) in combinations(enumerate(FACTORS), 2):
        found = {(row[first], row[second]) for row in rows}
        assert found == {(value, other) for value in values for other in others}
    assert len(rows) < 30, "18 rows are the least for the two longest factors; the full product has 432"


def test_the_full_product_is_kept_and_what_no_pair_needs_is_slow():
    parameters = pairwise(*FACTORS)
    assert len({parameter.values for parameter in parameters}) == 432
    fast = [parameter.values for parameter in parameters if not parameter.marks]
    assert sorted(map(str, fast)) == sorted(map(str, covering_rows(FACTORS)))
    assert {mark.name for parameter in parameters for mark in parameter.marks} == {"slow"}


def test_a_chosen_value_that_does_not_exist_is_an_error():
    with pytest.raises(AssertionError, match="'lstm'"):
        some(["LSTM", "GRU"], fast=["lstm"])


def test_rows_in_turn_have_every_value():
    rows = rows_in_turn([["a", "b", "c", "d"], [1, 2], ["x"]])
    assert rows == [("a", 1, "x"), ("b", 2, "x"), ("c", 1, "x"), ("d", 2, "x")]


def test_every_combination_in_turn_is_in_the_full_lane():
    parameters = in_turn("abc", [1, 2])
    assert [each.values for each in parameters] == list(product("abc", [1, 2]))
    assert [each.values for each in parameters if not each.marks] == [("a", 1), ("b", 2), ("c", 1)]
