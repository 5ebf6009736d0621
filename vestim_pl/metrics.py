"""Compute the errors of an estimated terminal voltage, as one torchmetrics metric."""

import torch
from torch import Tensor
from torchmetrics import Metric

__all__ = ["VoltageErrors"]


class VoltageErrors(Metric):
    r"""RMSE, MAE and largest absolute error of the terminal voltage in millivolts, over the steps that count.

    This is one metric instead of three, because a training step lasts only a few milliseconds and every update costs
    time. A non-finite error makes the result non-finite. In training, one batch that a guard skips would then hide the
    errors of all others; ``leave_out`` skips such batches and counts them.

    .. math:: \text{RMSE} = \sqrt{\frac{\sum_i w_i (\hat{u}_i - u_i)^2}{\sum_i w_i}}

    Args:
        leave_out: Whether to skip batches with a non-finite error and count them as ``left_out``.

    Example::

        >>> import torch
        >>> errors = VoltageErrors()
        >>> errors.update(torch.tensor([[3.0, 9.0]]), torch.tensor([[1.0, 0.0]]))
        >>> errors.update(torch.tensor([[-4.0]]), torch.tensor([[1.0]]))
        >>> {name: round(float(value), 3) for name, value in errors.compute().items()}
        {'rmse_mv': 3.536, 'mae_mv': 3.5, 'max_error_mv': 4.0}

    """

    full_state_update = False
    is_differentiable = False
    higher_is_better = False

    sum_squared: Tensor
    sum_absolute: Tensor
    largest: Tensor
    steps: Tensor
    left_out: Tensor

    def __init__(self, leave_out: bool = False) -> None:
        super().__init__()
        self.leave_out = leave_out
        for name in ("sum_squared", "sum_absolute", "steps", "left_out"):
            self.add_state(name, default=torch.zeros((), dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("largest", default=torch.zeros(()), dist_reduce_fx="max")

    def update(self, error_mv: Tensor, weight: Tensor) -> None:
        """Add the errors of a batch.

        Args:
            error_mv: Estimated minus measured voltage in mV, any shape.
            weight: 1 where a step counts, 0 elsewhere, same shape.

        """
        weighted = error_mv.detach().float() * weight
        absolute = weighted.abs()
        sums = torch.stack([weighted.square().sum(), absolute.sum(), weight.sum(), absolute.amax()])
        if self.leave_out:  # decided on the device, because reading the values would wait for it
            finite = torch.isfinite(sums[1])
            sums = torch.where(finite, sums, 0.0)
            self.left_out += ~finite
        squared, total, steps, largest = sums.unbind()
        self.sum_squared += squared
        self.sum_absolute += total
        self.steps += steps
        self.largest = torch.maximum(self.largest, largest)

    def compute(self) -> dict[str, Tensor]:
        """Return ``rmse_mv``, ``mae_mv``, ``max_error_mv`` and, if enabled, ``left_out``; NaN if no step counted."""
        left_out = {"left_out": self.left_out.float()} if self.leave_out else {}
        return left_out | {
            "rmse_mv": (self.sum_squared / self.steps).sqrt().float(),
            "mae_mv": (self.sum_absolute / self.steps).float(),
            "max_error_mv": torch.where(self.steps > 0, self.largest, torch.nan),
        }
