"""Keeping clipping by value from failing on a step whose gradients were taken away."""

from functools import partial

from lightning.pytorch.plugins import Precision
from torch.optim import Optimizer

from vestim_pl.lightning_support.step_finiteness import gradient_tensors

__all__ = ["ClippingHold"]


class ClippingHold:
    """Has the precision plugin clip by value only where there is a gradient, until released.

    Clipping comes after a skip, and torch's ``clip_grad_value_`` raises where no parameter has a gradient, while
    ``clip_grad_norm_`` does not. The plugin's method is what every clipping by value comes to: that of Lightning and
    that of a module with a ``configure_gradient_clipping`` of its own, which may compute with the trainer's setting.

    Example::

        >>> import torch
        >>> plugin, optimizer = Precision(), torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.1)
        >>> hold = ClippingHold()
        >>> hold.engage(plugin)
        >>> plugin.clip_grad_by_value(optimizer, 1.0)
        >>> hold.release()
        >>> plugin.clip_grad_by_value(optimizer, 1.0)
        Traceback (most recent call last):
        ...
        RuntimeError: Expected !nested_tensorlist[0].empty() to be true, but got false...

    """

    def __init__(self) -> None:
        self._held: Precision | None = None

    def engage(self, plugin: Precision) -> None:
        """Begin; once more changes nothing."""
        if self._held is None:
            self._held = plugin
            plugin.clip_grad_by_value = partial(_clip, plugin)  # type: ignore[method-assign]

    def release(self) -> None:
        """Give the plugin its own method back; nothing where none is held."""
        if self._held is not None:
            del self._held.clip_grad_by_value
            self._held = None


def _clip(plugin: Precision, optimizer: Optimizer, clip_val: float) -> None:
    if gradient_tensors(optimizer):
        type(plugin).clip_grad_by_value(plugin, optimizer, clip_val)
