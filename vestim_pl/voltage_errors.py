"""Errors of an estimated terminal voltage, as one torchmetrics metric."""

import torch
from torch import Tensor
from torchmetrics import Metric

__all__ = ["VoltageErrors"]


class VoltageErrors(Metric):
    r"""RMSE, MAE and largest absolute error of the terminal voltage in millivolts, over the steps that count.

    One metric instead of three, because in training a step lasts a few milliseconds and every update costs.
    A non-finite error is not filtered: it shows as a non-finite result.

    .. math:: \text{RMSE} = \sqrt{\frac{\sum_i w_i (\hat{u}_i - u_i)^2}{\sum_i w_i}}

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

    def __init__(self) -> None:
        super().__init__()
        for name in ("sum_squared", "sum_absolute", "steps"):
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
        self.sum_squared += weighted.square().sum()
        self.sum_absolute += absolute.sum()
        self.largest = torch.maximum(self.largest, absolute.amax())
        self.steps += weight.sum()

    def compute(self) -> dict[str, Tensor]:
        """The errors so far: ``rmse_mv``, ``mae_mv``, ``max_error_mv``; NaN where no step counted."""
        return {
            "rmse_mv": (self.sum_squared / self.steps).sqrt().float(),
            "mae_mv": (self.sum_absolute / self.steps).float(),
            "max_error_mv": torch.where(self.steps > 0, self.largest, torch.nan),
        }
