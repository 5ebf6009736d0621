"""Carrying a recurrent state from batch to batch, lane by lane."""

from torch import Tensor

__all__ = ["resume_state"]


def resume_state(carried: tuple[Tensor, ...] | None, fresh: Tensor) -> tuple[Tensor, ...] | None:
    """State with which the lanes of a batch go on: the carried one, zero where a lane is fresh.

    The fresh lanes are cut off by selection, not by a product, so a NaN in a carried lane does not outlive a reset.
    A state that comes out of a checkpoint lies on the CPU: Lightning loads it before it moves the module.

    Args:
        carried: Tensors ``[B, ...]`` that the last batch left, or None before the first: every lane is fresh then.
        fresh: ``[B]`` bool, true where a lane starts anew.

    Returns:
        Tensors ``[B, ...]`` on the device of ``fresh``, or None for the zero state.

    Raises:
        ValueError: If the number of lanes changed under lanes that go on.

    Example::

        >>> import torch
        >>> state = (torch.tensor([[1.0], [2.0]]),)
        >>> resume_state(state, torch.tensor([True, False]))[0].tolist()
        [[0.0], [2.0]]

    """
    if carried is None:
        return None
    lanes = carried[0].shape[0] if carried else fresh.shape[0]
    if lanes != fresh.shape[0]:
        if not bool(fresh.all()):
            raise ValueError(
                f"a batch of {fresh.shape[0]} lanes goes on from a carried state of {lanes} lanes: keep the number of"
                " lanes constant within a split"
            )
        return None
    return tuple(
        tensor.to(fresh.device).masked_fill(fresh.view(-1, *(1,) * (tensor.ndim - 1)), 0.0) for tensor in carried
    )
