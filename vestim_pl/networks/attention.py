"""Compute causal attention over a bounded past, and the transformer layer around it."""

import torch
from torch import Tensor, nn
from torch.nn.functional import pad, scaled_dot_product_attention

from vestim_pl.networks.initialization import initialize_linear

__all__ = ["AttentionLayer", "decay_rates", "distance_bias", "sliding_attention"]


def decay_rates(heads: int, lookback: int) -> Tensor:
    """Compute the rates ``[H]``, slowest first, by which each head lowers its attention score per step of distance.

    The rates are those of ALiBi (Press et al., *Train short, test long: attention with linear biases enables input
    length extrapolation*, ICLR 2022), spread over the lookback. If queries and keys carry no information, a head is a
    moving average with exponentially decaying weights, like the voltage over an RC pair. The time constants range from
    the whole lookback down to a few steps.

    Example::

        >>> (1 / decay_rates(heads=4, lookback=256)).tolist()
        [256.0, 64.0, 16.0, 4.0]

    """
    exponents = torch.arange(heads, 0, -1, dtype=torch.float64) / heads
    return (float(lookback) ** -exponents).to(torch.get_default_dtype())


def distance_bias(rates: Tensor, queries: int, lookback: int) -> Tensor:
    """Compute the attention bias by distance: ``-rate x distance``, or ``-inf`` out of reach.

    Distances are small integers no matter how long a stream runs, so precision does not degrade over time.

    Args:
        rates: ``[H]`` decay rates.
        queries: Number of consecutive query steps Q.
        lookback: Steps that a query attends to, including its own.

    Returns:
        ``[1, H, Q, lookback - 1 + Q]`` bias; the last key belongs to the last query's own step.

    Example::

        >>> distance_bias(torch.tensor([0.5]), queries=2, lookback=3)[0, 0]
        tensor([[-1.0000, -0.5000, -0.0000,    -inf],
                [   -inf, -1.0000, -0.5000, -0.0000]])

    """
    steps = torch.arange(lookback - 1 + queries, device=rates.device)
    distance = steps[:queries, None] + (lookback - 1) - steps
    hidden = (distance < 0) | (distance >= lookback)
    return (-rates[:, None, None] * distance).masked_fill(hidden, float("-inf")).unsqueeze(0)


def sliding_attention(
    query: Tensor, key: Tensor, value: Tensor, rates: Tensor, lookback: int, missing: Tensor | None = None
) -> Tensor:
    """Let every query attend to its own step and the ``lookback - 1`` steps before it.

    A long chunk is computed in blocks of ``lookback`` queries, so time and memory are linear in its length. An exported
    model, which must work for any length, uses one block.

    Args:
        query: ``[B, H, T, D]`` queries of the last T steps.
        key: ``[B, H, N, D]`` keys of N steps, at least T.
        value: ``[B, H, N, D]`` values of the same steps.
        rates: ``[H]`` decay rates.
        lookback: Steps that a query attends to, including its own.
        missing: ``[B]`` number of first steps that are still empty and are masked; None if there are none.

    Returns:
        ``[B, H, T, D]`` attended values.

    Example::

        >>> query = key = torch.zeros(1, 1, 4, 2)
        >>> value = torch.tensor([8.0, 4.0, 2.0, 0.0]).view(1, 1, 4, 1).expand(1, 1, 4, 2)
        >>> sliding_attention(query, key, value, torch.zeros(1), lookback=2)[0, 0, :, 0]  # means of two steps
        tensor([8., 6., 3., 1.])

    """
    queries, keys = query.shape[2], key.shape[2]
    exporting = torch.compiler.is_exporting()
    block = queries if exporting else min(queries, lookback)
    bias = distance_bias(rates, block, lookback).to(query.dtype)
    parts = []
    for start in (0,) if exporting else range(0, queries, block):
        count = min(block, queries - start)
        end = keys - queries + start + count
        begin = max(0, end - count - (lookback - 1))
        mask = bias[..., :count, lookback - 1 + count - (end - begin) : lookback - 1 + count]
        if missing is not None and begin < lookback - 1:
            empty = torch.arange(begin, end, device=key.device) < missing[:, None]
            mask = mask.masked_fill(empty[:, None, None], float("-inf"))
        parts.append(
            scaled_dot_product_attention(
                query[:, :, start : start + count], key[:, :, begin:end], value[:, :, begin:end], attn_mask=mask
            )
        )
    return parts[0] if len(parts) == 1 else torch.cat(parts, dim=2)


class AttentionLayer(nn.Module):
    """Attention followed by a multilayer perceptron, each with normalised inputs and a residual connection (pre-norm).

    Pre-norm gives gradients of similar size in all layers from the first step, so the Transformer trains without the
    warmup that post-norm needs (Xiong et al., *On layer normalization in the transformer architecture*, ICML 2020).
    Queries and keys are normalised as well (Dehghani et al., *Scaling vision transformers to 22 billion parameters*,
    ICML 2023). Without this, their products grow at a high learning rate until float32 rounds a score by more than the
    softmax tolerates, and the gradient becomes NaN while the loss is still finite.

    Args:
        input_size: Features F of the input; mapped linearly to ``size`` if different.
        size: Features D of the layer.
        heads: Number of heads H, which divide ``size`` equally.
        feedforward: Hidden size of the perceptron, in multiples of ``size``.
        dropout: Probability that a feature of a residual branch is dropped in training, in [0, 1).
        lookback: Steps that a step attends to, including itself.
        depth: Number of layers of the network, which scales down the initial residual branches.

    Shape:
        inputs ``[B, L, F]``; cache ``[B, lookback - 1, 2 D]``, the keys and values of the previous steps; output
        ``[B, L, D]``, or ``[B, last, D]``.

    Example::

        >>> layer = AttentionLayer(3, 8, heads=2, lookback=4)
        >>> output, cache = layer(torch.zeros(2, 5, 3))
        >>> output.shape, cache.shape
        (torch.Size([2, 5, 8]), torch.Size([2, 3, 16]))

    """

    rates: Tensor

    def __init__(
        self,
        input_size: int,
        size: int,
        heads: int = 4,
        feedforward: int = 2,
        dropout: float = 0.0,
        lookback: int = 200,
        depth: int = 1,
    ) -> None:
        super().__init__()
        self.size, self.heads, self.lookback = size, heads, lookback
        self.enter = nn.Identity() if input_size == size else nn.Linear(input_size, size)
        self.norm, self.feedforward_norm = nn.LayerNorm(size), nn.LayerNorm(size)
        self.query, self.key_value, self.output = (
            nn.Linear(size, size),
            nn.Linear(size, 2 * size),
            nn.Linear(size, size),
        )
        # The keys need no learned factor, which the queries already have, and no shift, which changes no softmax.
        self.query_norm = nn.LayerNorm(size // heads)
        self.key_norm = nn.LayerNorm(size // heads, elementwise_affine=False)
        widen, narrow = nn.Linear(size, feedforward * size), nn.Linear(feedforward * size, size)
        self.feedforward = nn.Sequential(widen, nn.GELU(), narrow)
        self.dropout = nn.Dropout(dropout)
        self.register_buffer("rates", decay_rates(heads, lookback), persistent=False)
        for module in self.modules():
            if isinstance(module, nn.Linear):
                initialize_linear(module)
        with torch.no_grad():  # as in GPT-2: the sum of all layers' parts starts at one size, whatever their number
            for linear in (self.output, narrow):
                linear.weight.div_((2 * depth) ** 0.5)

    def forward(
        self, inputs: Tensor, cache: Tensor | None = None, missing: Tensor | None = None, last: int | None = None
    ) -> tuple[Tensor, Tensor]:
        """Run a chunk and return the keys and values of its last steps with the output.

        Args:
            inputs: ``[B, L, F]`` inputs.
            cache: Keys and values that the previous chunk returned; None if there was none.
            missing: ``[B]`` number of first steps of ``cache`` that are empty; None without a cache.
            last: Number of last steps that need an output; None for all.

        """
        hidden = self.enter(inputs)
        normed = self.norm(hidden)
        fresh_key, fresh_value = self.key_value(normed).chunk(2, dim=-1)
        fresh_key = self.key_norm(self._split(fresh_key)).flatten(-2).to(fresh_value.dtype)
        recent = torch.cat([fresh_key, fresh_value], dim=-1)
        known = recent if cache is None else torch.cat([cache.to(recent.dtype), recent], dim=1)
        if last is not None and last < hidden.shape[1]:
            hidden, normed = hidden[:, -last:], normed[:, -last:]
        query = self.query_norm(self._split(self.query(normed))).to(known.dtype)
        key, value = (self._split(part) for part in known.chunk(2, dim=-1))
        attended = sliding_attention(
            query.transpose(1, 2), key.transpose(1, 2), value.transpose(1, 2), self.rates, self.lookback, missing
        )
        hidden = hidden + self.dropout(self.output(attended.transpose(1, 2).flatten(2)))
        hidden = hidden + self.dropout(self.feedforward(self.feedforward_norm(hidden)))
        return hidden, self._kept(known, cache is not None)

    def _split(self, features: Tensor) -> Tensor:
        """Split ``[B, N, D]`` features into heads ``[B, N, H, D / H]``."""
        return features.unflatten(-1, (self.heads, -1))

    def _kept(self, known: Tensor, continued: bool) -> Tensor:
        """Copy the last ``lookback - 1`` steps, so that a carried state does not keep the whole chunk in memory."""
        length, kept = known.shape[1], self.lookback - 1
        if not continued and length < kept:
            return pad(known, (0, 0, kept - length, 0))
        return known[:, length - kept :].clone()
