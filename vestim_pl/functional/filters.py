"""Causal filters over time without a Python loop over time steps: exponential smoothing and a finite impulse response.

Shape legend: B batch (or lanes), L steps, K filter taps.
"""

import torch
from torch import Tensor
from torch.nn import functional

__all__ = ["causal_fir", "exponential_smoothing", "first_order_recurrence", "varying_recurrence"]

_BLOCK = 128
_SMALLEST_EXPONENT = -60.0  # exp(-60) is 1e-26: nothing beside the sum it is added to, and far from subnormal numbers


def first_order_recurrence(drive: Tensor, log_decay: Tensor, initial: Tensor, block: int = _BLOCK) -> Tensor:
    r"""Solve :math:`y_t = e^{\lambda} y_{t-1} + x_t` over all steps at once.

    A blocked scan: inside a block the recurrence is one product with a lower triangular Toeplitz matrix of powers of
    the decay; the values at the block ends obey a recurrence of the same kind, ``block`` times slower and ``block``
    times shorter, which is solved the same way. Nothing is ever divided by a power of the decay, hence it is stable
    for decays close to 0 and close to 1 and for any length; the cost is linear in the length.

    Args:
        drive: ``[B, L]`` values :math:`x_t`.
        log_decay: ``[]`` natural logarithm :math:`\lambda \le 0` of the decay. A logarithm, because a decay next to 1
            has no accurate powers in float32.
        initial: ``[B]`` value :math:`y_{-1}` before the first step.
        block: Steps solved by one matrix product.

    Returns:
        ``[B, L]`` values :math:`y_t`.

    Example::

        >>> first_order_recurrence(torch.ones(1, 4), torch.tensor(0.5).log(), torch.zeros(1), block=2)
        tensor([[1.0000, 1.5000, 1.7500, 1.8750]])

    """
    steps = drive.shape[1]
    if steps <= 2 * block:
        return drive @ _decay_matrix(steps, log_decay).T + torch.outer(initial, _decay_to_start(steps, log_decay))
    blocks = -(-steps // block)
    driven = functional.pad(drive, (0, blocks * block - steps)).view(-1, blocks, block)
    driven = driven @ _decay_matrix(block, log_decay).T
    ends = first_order_recurrence(driven[:, :-1, -1], log_decay * block, initial, block)
    starts = torch.cat([initial.unsqueeze(1), ends], dim=1)
    carried = starts.unsqueeze(2) * _decay_to_start(block, log_decay)
    return (driven + carried).flatten(1)[:, :steps]


def varying_recurrence(drive: Tensor, log_decay: Tensor, initial: Tensor, block: int = _BLOCK) -> Tensor:
    r"""Solve :math:`y_t = e^{\lambda_t} y_{t-1} + x_t` with a decay of its own in every step.

    Inside a block it is one product with a lower triangular matrix of the decays from step to step, see
    `first_order_recurrence`; block follows block.

    Args:
        drive: ``[B, L, K]`` values :math:`x_t` of K recurrences.
        log_decay: ``[B, L, K]`` natural logarithms :math:`\lambda_t \le 0` of the decays.
        initial: ``[B, K]`` values :math:`y_{-1}` before the first step.
        block: Steps solved by one matrix product.

    Returns:
        ``[B, L, K]`` values :math:`y_t`.

    Example::

        >>> decay = torch.tensor([[[0.5], [0.5], [0.25]]])
        >>> varying_recurrence(torch.ones(1, 3, 1), decay.log(), torch.zeros(1, 1)).flatten()
        tensor([1.0000, 1.5000, 1.3750])

    """
    solved = []
    for part, logs in zip(
        drive.transpose(1, 2).split(block, 2), log_decay.transpose(1, 2).split(block, 2), strict=True
    ):
        total = logs.cumsum(2)
        between = (total.unsqueeze(3) - total.unsqueeze(2)).clamp(_SMALLEST_EXPONENT, 0.0).exp().tril()
        values = (between @ part.unsqueeze(3)).squeeze(3)
        values = values + initial.unsqueeze(2) * total.clamp(min=_SMALLEST_EXPONENT).exp()
        solved.append(values)
        initial = values[:, :, -1]
    return torch.cat(solved, dim=2).transpose(1, 2)


def exponential_smoothing(signal: Tensor, alpha: Tensor, initial: Tensor, block: int = _BLOCK) -> Tensor:
    r"""Exponential moving average :math:`y_t = (1 - a)\, y_{t-1} + a\, r_t` over time.

    The gain at direct current is one: a constant signal that the filter starts from stays what it is.

    Args:
        signal: ``[B, L]`` values :math:`r_t`.
        alpha: ``[]`` weight :math:`a` of the newest sample, above 0 and at most 1.
        initial: ``[B]`` value :math:`y_{-1}` before the first step.
        block: Steps solved by one matrix product, see `first_order_recurrence`.

    Returns:
        ``[B, L]`` smoothed signal; its last column is the value to carry on from.

    Example::

        >>> exponential_smoothing(torch.tensor([[4.0, 4.0, 0.0]]), torch.tensor(0.5), torch.tensor([0.0]))
        tensor([[2.0000, 3.0000, 1.5000]])

    """
    alpha = alpha.clamp(max=1 - torch.finfo(alpha.dtype).eps)  # 1 itself has no logarithm of the decay
    return first_order_recurrence(alpha * signal, torch.log1p(-alpha), initial, block)


def causal_fir(signal: Tensor, taps: Tensor, history: Tensor) -> Tensor:
    r"""Causal finite impulse response :math:`y_t = \sum_{k<K} w_k\, r_{t-k}` over time.

    Args:
        signal: ``[B, L]`` values :math:`r_t`.
        taps: ``[K]`` weights, the newest sample's first.
        history: ``[B, K - 1]`` samples before the first step, oldest first.

    Returns:
        ``[B, L]`` filtered signal.

    Example::

        >>> causal_fir(torch.tensor([[1.0, 2.0, 4.0]]), torch.tensor([0.75, 0.25]), torch.tensor([[1.0]]))
        tensor([[1.0000, 1.7500, 3.5000]])

    """
    # On CPU a product with the sliding windows is 3-10 times faster than conv1d with its single channel.
    return torch.cat([history, signal], dim=1).unfold(1, len(taps), 1) @ taps.flip(0)


def _decay_matrix(size: int, log_decay: Tensor) -> Tensor:
    """Lower triangular ``[size, size]`` matrix of ``decay ** (row - column)``."""
    index = torch.arange(size, device=log_decay.device)
    lag = (index.unsqueeze(1) - index).clamp(min=0)
    return (lag * log_decay).clamp(min=_SMALLEST_EXPONENT).exp().tril()


def _decay_to_start(size: int, log_decay: Tensor) -> Tensor:
    """``[size]`` powers of the decay from each step back to the one before the first."""
    lag = torch.arange(1, size + 1, device=log_decay.device)
    return (lag * log_decay).clamp(min=_SMALLEST_EXPONENT).exp()
