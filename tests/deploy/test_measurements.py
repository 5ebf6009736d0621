"""Measurements of cells to one tensor and back, of the kind that they were given in."""

import numpy as np
import pytest
import torch

from vestim_pl.deploy.measurements import same_kind, stack_cells
from vestim_pl.errors import DataError


@pytest.mark.parametrize(
    "temperature", [25, 25.0, np.float32(25), np.full(3, 25.0), [25.0, 25.0, 25.0], torch.full((3,), 25.0)]
)
def test_one_row_a_cell_in_the_order_given(temperature):
    rows = stack_cells({"Temp": temperature, "Current": np.array([1.0, 2.0, 3.0])}, cells=3)
    assert rows.dtype == torch.float32
    assert rows.tolist() == [[25.0, 1.0], [25.0, 2.0], [25.0, 3.0]]


def test_numbers_are_the_same_for_all_cells():
    assert stack_cells({"Current": 1.5, "Temp": 2}, cells=2).tolist() == [[1.5, 2.0], [1.5, 2.0]]


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf"), 1e39])
def test_a_number_that_is_not_finite_is_refused_by_name(bad):
    with pytest.raises(DataError, match=r"^Temp: (nan|-?inf) is non-finite .* pass the last good value"):
        stack_cells({"Current": 1.0, "Temp": bad}, cells=1)
    with pytest.raises(DataError, match=r"^Temp of cell 1: (nan|-?inf) "):
        stack_cells({"Current": 1.0, "Temp": [0.0, bad]}, cells=2)


@pytest.mark.parametrize(
    ("value", "found"),
    [([1.0, 2.0], r"shape \[2\] for 3 cells"), ("1.0", "'1.0' is not a number"), ([[1.0]] * 3, r"shape \[3, 1\]")],
)
def test_a_wrong_shape_or_kind_is_one_line_with_the_name(value, found):
    with pytest.raises(DataError, match=f"^SOC: .*{found}") as caught:
        stack_cells({"SOC": value}, cells=3)
    assert "\n" not in str(caught.value)


def test_results_are_of_the_kind_that_was_given():
    one, three = torch.tensor([3.5]), torch.tensor([3.5, 3.6, 3.7])
    assert type(same_kind(one, {"Current": 1.0, "Temp": np.float32(2)})) is float
    assert isinstance(same_kind(one, {"Current": 1.0, "Temp": [2.0]}), np.ndarray)
    assert same_kind(three, {"Current": 1.0}).tolist() == pytest.approx([3.5, 3.6, 3.7])
    assert isinstance(same_kind(three, {"Current": np.ones(3)}), np.ndarray)
    tensor = same_kind(three, {"Current": 1.0, "Temp": torch.ones(3)})
    assert isinstance(tensor, torch.Tensor)
    assert tensor.shape == (3,)
    assert same_kind(one, {"Current": torch.tensor(1.0)}).shape == ()
