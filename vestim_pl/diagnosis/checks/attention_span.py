"""Check how much of the window attention uses."""

from collections.abc import Sequence

from vestim_pl.diagnosis.attention_span import AttentionSpan
from vestim_pl.diagnosis.finding import Finding, Severity
from vestim_pl.settings.override import Override

__all__ = ["check_attention_span"]

CHECK = "attention span"
SHORT = 0.25
"""Share of the lookback below which the reach gets a note."""


def check_attention_span(spans: Sequence[AttentionSpan], lookback: int, covered: int, probe: str = "") -> Finding:
    """Compare the steps that attention covers, and where its weights lie, with the lookback.

    A Transformer has no gradient through time that could vanish: every step that a layer attends to is one step away.
    Two things can go wrong: no layer attends to a part of the window, or nearly all weight lies on its end.

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
