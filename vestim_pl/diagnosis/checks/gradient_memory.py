"""Check how much of the window the gradient reaches."""

import math
from collections.abc import Sequence

from vestim_pl.callbacks.gradients.gradient_flow import FlowVerdict, GradientFlow
from vestim_pl.diagnosis.finding import Finding, Severity
from vestim_pl.settings.override import Override

__all__ = ["check_gradient_memory"]

CHECK = "gradient memory"


def check_gradient_memory(
    flows: Sequence[GradientFlow], lookback: int, chrono_is_open: bool = False, probe: str = ""
) -> Finding:
    """Compare the effective memory, the last steps with 99 % of the gradient, with the lookback.

    This is the memory at initialisation. It can grow in training, when the network opens its forget gates because the
    past matters; `GradientFlowProbe` logs it. A short memory makes learning slow but does not prove that a shorter
    window is enough.

    Args:
        flows: One per recurrent layer, from `measure_gradient_flow`; empty without such a layer.
        lookback: ``sampling.lookback``.
        chrono_is_open: Whether ``network.forget_bias=chrono`` is available and not yet used.
        probe: Callback that logs the reach in training, or the override that adds it.

    Example::

        >>> norms = [0.5**lag for lag in range(400)]
        >>> flow = GradientFlow("layers.0", norms, [], 7, 0.0, 0.5, FlowVerdict.VANISHES, from_last_step=False)
        >>> finding = check_gradient_memory([flow], 400, chrono_is_open=True, probe="gradient_flow")
        >>> print(finding.evidence)
        99 % of the gradient lies within the last 7 of 400 steps (2 %) and it vanishes (x 0.5 a step): at the start
        almost nothing is learnt from the earlier 98 %; gradient_flow shows whether the reach grows
        >>> finding.override
        'network.forget_bias=chrono'

    """
    if not flows:
        return Finding(
            CHECK,
            Severity.NOTE,
            f"the network has no recurrent layer: the lookback of {lookback} only sets the length of its input",
        )
    longest = max(flows, key=lambda flow: flow.effective_memory)
    if exploded := [flow for flow in flows if flow.verdict is FlowVerdict.EXPLODES]:
        return _explodes(exploded, lookback)
    if longest.verdict is FlowVerdict.NO_GRADIENT:
        return Finding(CHECK, Severity.ERROR, "the loss does not depend on the hidden states: nothing can be learnt")
    memory, share = longest.effective_memory, longest.effective_memory / lookback
    reach = f"99 % of the gradient lies within the last {memory} of {lookback} steps ({100 * share:.0f} %)"
    enough = _round_to_tens(2 * memory)
    if enough >= lookback or longest.verdict is not FlowVerdict.VANISHES:
        return Finding(CHECK, Severity.OK, reach)
    return Finding(
        CHECK,
        Severity.WARNING if share <= 0.25 else Severity.NOTE,
        f"{reach} and it vanishes (x {longest.factor_per_step:.3g} a step): at the start almost nothing is learnt"
        f" from the earlier {100 * (1 - share):.0f} %{f'; {probe} shows whether the reach grows' if probe else ''}",
        (Override("network.forget_bias", "chrono") if chrono_is_open else Override("sampling.lookback", enough),),
    )


def _explodes(flows: Sequence[GradientFlow], lookback: int) -> Finding:
    """Report gradients that grow; a non-finite one has no figures."""
    shorter = (Override("sampling.lookback", max(1, lookback // 2)),)
    if lost := [flow.layer for flow in flows if not math.isfinite(flow.factor_per_step)]:
        evidence = f"the gradient of {', '.join(lost)} becomes non-finite going back over {lookback} steps: it explodes"
        return Finding(CHECK, Severity.ERROR, evidence, shorter)
    return Finding(
        CHECK,
        Severity.ERROR,
        f"the gradient of {flows[0].layer} grows going back in time (x {flows[0].factor_per_step:.3g} a step,"
        f" {flows[0].far_to_near:.3g} times over {lookback} steps): it explodes",
        shorter,
    )


def _round_to_tens(steps: int) -> int:
    return max(10, -(-steps // 10) * 10)
