"""Carry a recurrent state from batch to batch, lane by lane."""

from torch import Tensor

__all__ = ["resume_state"]


def resume_state(carried: tuple[Tensor, ...] | None, fresh: Tensor) -> tuple[Tensor, ...] | None:
    """Return the state from which the lanes of a batch continue: the carried state, or zero in fresh lanes.

    Fresh lanes are selected instead of multiplied by zero, so a NaN in a carried lane does not survive a reset. A state
    from a checkpoint is on the CPU, because Lightning loads it before it moves the module.

    Args:
        carried: Tensors ``[B, ...]`` from the previous batch; None if there was none, so all lanes are fresh.
        fresh: ``[B]`` bool, true where a lane starts from zero.

    Returns:
        Tensors ``[B, ...]`` on the device of ``fresh``, or None for the zero state.

    Raises:
        ValueError: If the number of lanes changes while lanes continue.

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
                f"a batch of {fresh.shape[0]} lanes continues a carried state of {lanes} lanes; keep the number of"
                " lanes constant within a split"
            )
        return None
    return tuple(
        tensor.to(fresh.device).masked_fill(fresh.view(-1, *(1,) * (tensor.ndim - 1)), 0.0) for tensor in carried
    )
