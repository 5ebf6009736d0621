"""How far back the gradient reaches, against the window that is paid for."""

from collections.abc import Sequence

from vestim_pl.diagnosis.finding import Finding, Severity
from vestim_pl.functional.gradient_flow import FlowVerdict, GradientFlow

__all__ = ["check_gradient_memory"]

CHECK = "gradient memory"


def check_gradient_memory(flows: Sequence[GradientFlow], lookback: int, chrono_is_open: bool = False) -> Finding:
    """Hold the effective memory (last steps with 99 % of the gradient) against the lookback.

    It is that of the initialisation. It may grow in training: where the network learns that the past matters it opens
    its forget gates, and :class:`vestim_pl.callbacks.GradientFlowProbe` shows it. So a short one is slow to learn from,
    not a proof that a shorter window would do.

    Args:
        flows: One a recurrent layer, as :func:`vestim_pl.functional.gradient_flow.measure_gradient_flow` gives them;
            empty for a network without.
        lookback: ``sampling.lookback``.
        chrono_is_open: Whether ``network.forget_bias=chrono`` could make the memory longer: the network has forget
            gates and another initialisation.

    Example::

        >>> norms = [0.5**lag for lag in range(400)]
        >>> flow = GradientFlow("layers.0", norms, [], 7, 0.0, 0.5, FlowVerdict.VANISHES, from_last_step=False)
        >>> finding = check_gradient_memory([flow], 400, chrono_is_open=True)
        >>> print(finding.evidence)
        99 % of the gradient lies within the last 7 of 400 steps (2 %) and it vanishes (x 0.5 a step): at the start
        next to nothing is learnt from the 98 % farther back; callbacks=[default,gradient_flow] shows whether that grows
        >>> finding.override
        'network.forget_bias=chrono'

    """
    if not flows:
        return Finding(
            CHECK, Severity.NOTE, f"the network has no recurrent layer: the lookback {lookback} is history only"
        )
    longest = max(flows, key=lambda flow: flow.effective_memory)
    if any(flow.verdict is FlowVerdict.EXPLODES for flow in flows):
        worst = next(flow for flow in flows if flow.verdict is FlowVerdict.EXPLODES)
        return Finding(
            CHECK,
            Severity.ERROR,
            f"the gradient of {worst.layer} grows on its way back (x {worst.factor_per_step:.3g} a step,"
            f" {worst.far_to_near:.3g} times over {lookback} steps): it explodes",
            f"sampling.lookback={max(1, lookback // 2)}",
        )
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
        f" the {100 * (1 - share):.0f} % farther back; callbacks=[default,gradient_flow] shows whether that grows",
        "network.forget_bias=chrono" if chrono_is_open else f"sampling.lookback={enough}",
    )


def _round_to_tens(steps: int) -> int:
    return max(10, -(-steps // 10) * 10)
