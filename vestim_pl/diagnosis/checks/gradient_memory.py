"""How far back the gradient reaches, against the window that is paid for."""

import math
from collections.abc import Sequence

from vestim_pl.callbacks.gradients.gradient_flow import FlowVerdict, GradientFlow
from vestim_pl.diagnosis.finding import Finding, Severity

__all__ = ["check_gradient_memory"]

CHECK = "gradient memory"


def check_gradient_memory(
    flows: Sequence[GradientFlow], lookback: int, chrono_is_open: bool = False, probe: str = ""
) -> Finding:
    """Hold the effective memory (last steps with 99 % of the gradient) against the lookback.

    It is that of the initialisation. It may grow in training: where the network learns that the past matters it opens
    its forget gates, and `GradientFlowProbe` shows it. So a short one is slow to learn from,
    not a proof that a shorter window would do.

    Args:
        flows: One a recurrent layer, as `measure_gradient_flow` gives them;
            empty for a network without.
        lookback: ``sampling.lookback``.
        chrono_is_open: Whether ``network.forget_bias=chrono`` could make the memory longer: the network has forget
            gates and another initialisation.
        probe: What shows in the training how far it reaches: the callback's name, or the override that adds it.

    Example::

        >>> norms = [0.5**lag for lag in range(400)]
        >>> flow = GradientFlow("layers.0", norms, [], 7, 0.0, 0.5, FlowVerdict.VANISHES, from_last_step=False)
        >>> finding = check_gradient_memory([flow], 400, chrono_is_open=True, probe="gradient_flow")
        >>> print(finding.evidence)
        99 % of the gradient lies within the last 7 of 400 steps (2 %) and it vanishes (x 0.5 a step): at the start
        next to nothing is learnt from the 98 % farther back; gradient_flow shows whether that grows
        >>> finding.override
        'network.forget_bias=chrono'

    """
    if not flows:
        return Finding(
            CHECK, Severity.NOTE, f"the network has no recurrent layer: the lookback {lookback} is history only"
        )
    longest = max(flows, key=lambda flow: flow.effective_memory)
    if exploded := [flow for flow in flows if flow.verdict is FlowVerdict.EXPLODES]:
        return _explodes(exploded, lookback)
    if longest.verdict is FlowVerdict.NO_GRADIENT:
        return Finding(
            CHECK, Severity.ERROR, "the loss does not depend on the hidden states: nothing can be learnt", ""
        )
    memory, share = longest.effective_memory, longest.effective_memory / lookback
    reach = f"99 % of the gradient lies within the last {memory} of {lookback} steps ({100 * share:.0f} %)"
    enough = _round_to_tens(2 * memory)
    if enough >= lookback or longest.verdict is not FlowVerdict.VANISHES:
        return Finding(CHECK, Severity.OK, reach)
    return Finding(
        CHECK,
        Severity.WARNING if share <= 0.25 else Severity.NOTE,
        f"{reach} and it vanishes (x {longest.factor_per_step:.3g} a step): at the start next to nothing is learnt from"
        f" the {100 * (1 - share):.0f} % farther back{f'; {probe} shows whether that grows' if probe else ''}",
        "network.forget_bias=chrono" if chrono_is_open else f"sampling.lookback={enough}",
    )


def _explodes(flows: Sequence[GradientFlow], lookback: int) -> Finding:
    """A gradient that is not finite has no figures to tell, and is the worst of all."""
    override = f"sampling.lookback={max(1, lookback // 2)}"
    if lost := [flow.layer for flow in flows if not math.isfinite(flow.factor_per_step)]:
        evidence = f"the gradient of {', '.join(lost)} is not finite on its way back over {lookback} steps: it explodes"
        return Finding(CHECK, Severity.ERROR, evidence, override)
    return Finding(
        CHECK,
        Severity.ERROR,
        f"the gradient of {flows[0].layer} grows on its way back (x {flows[0].factor_per_step:.3g} a step,"
        f" {flows[0].far_to_near:.3g} times over {lookback} steps): it explodes",
        override,
    )


def _round_to_tens(steps: int) -> int:
    return max(10, -(-steps // 10) * 10)
