"""Measure how far back a model's attention reaches, and check how much of the window it uses."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from vestim_pl.diagnosis.finding import Finding, Severity
from vestim_pl.lightning_support.attention_calls import AttentionCall, last_weights, recorded_attention
from vestim_pl.settings.override import Override

__all__ = ["AttentionSpan", "check_attention_span", "measure_attention_span", "reach_of"]


@dataclass(frozen=True)
class AttentionSpan:
    """Attention of the last step of a sequence in one layer, by lag.

    Attributes:
        layer: Name of the layer.
        weights: Mean weight over batch and heads; index is the lag, 0 the step itself.
        reach: Number of last steps that hold the given share of the weights.
        farthest_head: Reach of the head that reaches farthest.
        nearest_head: Reach of the head that reaches least far.

    """

    layer: str
    weights: list[float]
    reach: int
    farthest_head: int
    nearest_head: int


def reach_of(weights: Tensor, mass: float = 0.99) -> int:
    """Count the last steps that hold a share of the weights.

    Args:
        weights: ``[N]`` by lag, the last step first.
        mass: The share, 0..1.

    Example::

        >>> reach_of(torch.tensor([0.5, 0.3, 0.1, 0.1]), mass=0.8)
        2

    """
    held = weights.double().cumsum(0)
    return int((held < mass * held[-1] * (1 - 1e-12)).sum()) + 1


def measure_attention_span(model: nn.Module, run: Callable[[], object], mass: float = 0.99) -> list[AttentionSpan]:
    """Measure to which steps the last step of a sequence attends, in every layer with attention.

    The weights are computed again from the arguments of torch's ``scaled_dot_product_attention``; the model runs
    unchanged.

    Args:
        model: Module with the layers.
        run: Runs the module on a batch of sequences.
        mass: Share of the weights within the reach, 0..1.

    Returns:
        One entry per layer, in the order of the calls; empty for a model without attention.

    Example::

        >>> from torch.nn.functional import scaled_dot_product_attention
        >>> steps = torch.zeros(1, 1, 100, 4)
        >>> span, = measure_attention_span(nn.Identity(), lambda: scaled_dot_product_attention(steps, steps, steps))
        >>> span.reach, round(sum(span.weights), 6)
        (99, 1.0)

    """
    with torch.no_grad(), recorded_attention(model) as calls:
        run()
    return [_span(call, mass) for call in calls.values()]


def _span(call: AttentionCall, mass: float) -> AttentionSpan:
    by_head = last_weights(call).mean(0).flip(-1)
    weights = by_head.mean(0)
    reaches = [reach_of(head, mass) for head in by_head]
    return AttentionSpan(call.layer, weights.tolist(), reach_of(weights, mass), max(reaches), min(reaches))


CHECK = "attention span"
SHORT = 0.25
"""Share of the lookback below which the reach gets a note."""


def check_attention_span(spans: Sequence[AttentionSpan], lookback: int, covered: int, probe: str = "") -> Finding:
    """Compare the steps that attention covers, and where its weights lie, with the lookback.

    In a Transformer no gradient vanishes over time, because every step is directly connected. But layers may not reach
    the start of the window, or nearly all weight may lie on its end.

    Args:
        spans: One per layer, from `measure_attention_span`.
        lookback: ``sampling.lookback``.
        covered: Last steps that the layers reach together: ``layers x (network.lookback - 1) + 1``.
        probe: Callback that logs the reach in training, or the override that adds it.

    Example::

        >>> span = AttentionSpan("layers.0", [], reach=150, farthest_head=190, nearest_head=12)
        >>> print(check_attention_span([span], lookback=200, covered=399).evidence)
        99 % of the attention lies within the last 150 of 200 steps (75 %); by head 12 to 190 steps
        >>> check_attention_span([span], lookback=400, covered=200).override
        'network.lookback=400'

    """
    if covered < lookback:
        evidence = (
            f"together the layers reach the last {covered} steps: the first {lookback - covered} of {lookback} steps of"
            " a window are computed and never used"
        )
        return Finding(CHECK, Severity.WARNING, evidence, (Override("network.lookback", lookback),))
    longest = max(spans, key=lambda span: span.reach)
    nearest = min(span.nearest_head for span in spans)
    farthest = max(span.farthest_head for span in spans)
    share = longest.reach / lookback
    evidence = (
        f"99 % of the attention lies within the last {longest.reach} of {lookback} steps ({100 * share:.0f} %); by head"
        f" {nearest} to {farthest} steps"
    )
    if share > SHORT:
        return Finding(CHECK, Severity.OK, evidence)
    enough = max(10, -(-2 * farthest // 10) * 10)
    evidence += (
        f": earlier steps cost time and hardly count{f'; {probe} shows whether the reach grows' if probe else ''}"
    )
    return Finding(
        CHECK, Severity.NOTE, evidence, (Override("sampling.lookback", enough),) if enough < lookback else ()
    )
