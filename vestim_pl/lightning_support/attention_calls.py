"""What every attention of a model computes with, seen from outside."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention
from torch.overrides import TorchFunctionMode

__all__ = ["AttentionCall", "last_weights", "recorded_attention"]


class AttentionCall(NamedTuple):
    """One call of ``scaled_dot_product_attention``.

    Attributes:
        layer: Name of the innermost module that called it.
        query: ``[B, H, T, D]``.
        key: ``[B, H, N, D]``.
        value: ``[B, H, N, D]``.
        mask: What is added to the scores, or true where a key is seen; None for every key.
        scale: Factor of the scores; None for ``D ** -0.5``.
        output: ``[B, H, T, D]``.

    """

    layer: str
    query: Tensor
    key: Tensor
    value: Tensor
    mask: Tensor | None
    scale: float | None
    output: Tensor


@contextmanager
def recorded_attention(model: nn.Module) -> Iterator[dict[str, AttentionCall]]:
    """Note what the attention of each module computes with, while the context lasts.

    Where a module computes its attention in several parts, the last one is kept. ``nn.MultiheadAttention`` makes its
    call out of sight.

    Args:
        model: Module whose parts are looked at.

    Returns:
        Calls by the module's name, in the order in which the modules were first called.

    Example::

        >>> with recorded_attention(nn.Identity()) as calls:
        ...     _ = scaled_dot_product_attention(*[torch.zeros(1, 2, 5, 4)] * 3)
        >>> calls[""].key.shape
        torch.Size([1, 2, 5, 4])

    """
    calls: dict[str, AttentionCall] = {}
    running: list[str] = []
    hooks = []
    for name, module in model.named_modules():
        hooks.append(module.register_forward_pre_hook(lambda _module, _inputs, name=name: running.append(name)))
        hooks.append(module.register_forward_hook(lambda _module, _inputs, _output: _discard(running)))
    try:
        with _Recorder(calls, running):
            yield calls
    finally:
        for hook in hooks:
            hook.remove()


@torch.no_grad()
def last_weights(call: AttentionCall) -> Tensor:
    """Attention of the last query to every key.

    Returns:
        ``[B, H, N]`` weights of sum 1, in double precision.

    """
    query, key = call.query[..., -1:, :].double(), call.key.double()
    scores = query @ key.transpose(-2, -1) * (query.shape[-1] ** -0.5 if call.scale is None else call.scale)
    if call.mask is not None:
        mask = call.mask[..., -1:, :]
        scores = scores.masked_fill(~mask, float("-inf")) if mask.dtype == torch.bool else scores + mask
    return scores.softmax(-1).squeeze(-2)


class _Recorder(TorchFunctionMode):
    """Notes calls of the one function and changes nothing."""

    def __init__(self, calls: dict[str, AttentionCall], running: list[str]) -> None:
        super().__init__()
        self.calls, self.running = calls, running

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        output = func(*args, **kwargs)
        if func is scaled_dot_product_attention:
            given = dict(zip(("query", "key", "value", "attn_mask"), args, strict=False)) | kwargs
            layer = self.running[-1] if self.running else ""
            self.calls[layer] = AttentionCall(
                layer, given["query"], given["key"], given["value"], given.get("attn_mask"), given.get("scale"), output
            )
        return output


def _discard(running: list[str]) -> None:
    running.pop()
