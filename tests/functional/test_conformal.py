"""The conformal quantile: rank of the usual one, weight of groups, and its promise on exchangeable errors."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from vestim_pl.functional.conformal import conformal_quantile


@given(st.lists(st.floats(0, 100), min_size=1, max_size=60), st.floats(0.5, 0.99))
def test_with_one_error_a_group_it_is_the_error_of_rank_n_plus_1_times_coverage(scores, coverage):
    rank = math.ceil((len(scores) + 1) * coverage - 1e-9)
    expected = sorted(scores)[rank - 1] if rank <= len(scores) else math.inf
    found = conformal_quantile(torch.tensor(scores, dtype=torch.float64), torch.arange(len(scores)), coverage)
    assert found == expected


def test_every_group_weighs_the_same_however_many_errors_it_has():
    calm, wild = torch.full((1000,), 1.0), torch.full((12,), 9.0)
    scores, groups = torch.cat([calm, wild]), torch.cat([torch.zeros(1000).long(), torch.arange(1, 13)])
    assert conformal_quantile(scores, groups, 0.5) == 9.0, "one group outweighed twelve"


def test_repeated_errors_of_the_same_groups_change_nothing():
    scores, groups = torch.rand(20), torch.arange(20)
    once = conformal_quantile(scores, groups, 0.9)
    assert conformal_quantile(scores.repeat(50), groups.repeat(50), 0.9) == once


@pytest.mark.parametrize(("count", "finite"), [(0, False), (8, False), (9, True)])
def test_too_few_groups_for_the_coverage_have_no_finite_width(count, finite):
    assert math.isfinite(conformal_quantile(torch.rand(count), torch.arange(count), 0.9)) is finite
