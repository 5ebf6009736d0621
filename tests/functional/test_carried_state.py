"""resume_state: zero in fresh lanes, the carried numbers in the others."""

import math

import pytest
import torch

from vestim_pl.functional.carried_state import resume_state


def test_only_fresh_lanes_are_zeroed_in_every_tensor():
    carried = (torch.ones(3, 2), torch.full((3,), 5.0), torch.ones(3, 2, 4))
    state = resume_state(carried, torch.tensor([False, True, False]))
    for tensor, original in zip(state, carried, strict=True):
        assert torch.equal(tensor[1], torch.zeros_like(original[1]))
        assert torch.equal(tensor[[0, 2]], original[[0, 2]])


def test_a_reset_ends_a_nan():
    state = resume_state((torch.tensor([[math.nan], [1.0]]),), torch.tensor([True, False]))
    assert state[0].tolist() == [[0.0], [1.0]]


def test_no_state_and_all_fresh_is_the_zero_state():
    assert resume_state(None, torch.tensor([True, True])) is None


def test_a_changed_number_of_continuing_lanes_is_refused():
    with pytest.raises(ValueError, match="number of lanes"):
        resume_state((torch.zeros(5, 1),), torch.tensor([True, False]))


def test_before_the_first_batch_every_lane_is_fresh():
    """A rollback may restore the state before the first batch in the middle of a stream."""
    assert resume_state(None, torch.tensor([True, False])) is None


def test_a_changed_number_of_fresh_lanes_starts_from_zero():
    assert resume_state((torch.zeros(5, 1),), torch.tensor([True, True])) is None


def test_a_network_without_memory_carries_nothing():
    assert resume_state((), torch.tensor([False, True])) == ()


def test_a_state_from_a_checkpoint_follows_the_batch_to_its_device():
    """Lightning loads a checkpoint before it moves the module, so the state is still on the CPU."""
    device = torch.device("meta")
    state = resume_state((torch.ones(2, 3),), torch.tensor([False, True], device=device))
    assert state[0].device == device
