"""Record the inputs and outputs of every attention in a model."""

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
        layer: Name of the innermost module that made the call.
        query: ``[B, H, T, D]``.
        key: ``[B, H, N, D]``.
        value: ``[B, H, N, D]``.
        mask: Added to the scores, or true for the keys to use; None for all keys.
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
    """Record the last attention call of each module while the context lasts, by the name of the module.

    ``nn.MultiheadAttention`` is not recorded, because it does not call the Python function.

    Example::

        >>> with recorded_attention(nn.Identity()) as calls:
        ...     _ = scaled_dot_product_attention(*[torch.zeros(1, 2, 5, 4)] * 3)
        >>> calls[""].key.shape
        torch.Size([1, 2, 5, 4])

    """
    calls: dict[str, AttentionCall] = {}
    running: list[str] = []
    hooks = []

    def leave(*_: Any) -> None:  # returns nothing, because a hook's value would replace the output
        running.pop()

    for name, module in model.named_modules():
        hooks.append(module.register_forward_pre_hook(lambda _module, _inputs, name=name: running.append(name)))
        hooks.append(module.register_forward_hook(leave))
    try:
        with _Recorder(calls, running):
            yield calls
    finally:
        for hook in hooks:
            hook.remove()


@torch.no_grad()
def last_weights(call: AttentionCall) -> Tensor:
    """Compute the attention weights of the last query: ``[B, H, N]`` of sum 1, in double precision."""
    query, key = call.query[..., -1:, :].double(), call.key.double()
    scores = query @ key.transpose(-2, -1) * (query.shape[-1] ** -0.5 if call.scale is None else call.scale)
    if call.mask is not None:
        mask = call.mask[..., -1:, :]
        scores = scores.masked_fill(~mask, float("-inf")) if mask.dtype == torch.bool else scores + mask
    return scores.softmax(-1).squeeze(-2)


class _Recorder(TorchFunctionMode):
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
