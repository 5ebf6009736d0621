"""What to change after a divergence: a learning rate that the run bore, and the callbacks that bring a run back."""

from collections.abc import Mapping, Sequence
from typing import Any

from vestim_pl.diagnosis.nodes import node_of

__all__ = ["borne_rate", "missing_recovery", "switched_on"]

CUT = 0.1  # of a rate that was not borne; DivergenceRecovery's own
GUARDS = {"step_guard": "StepGuard", "finite_parameters": "FiniteParameterGuard", "recovery": "DivergenceRecovery"}


def borne_rate(
    rate: float, events: Sequence[Mapping[str, Any]], diverged: bool, callbacks: Mapping[str, Any]
) -> tuple[float, float]:
    """Base rate that the run went on with, and the one to try next, both in the unit of ``optimizer.lr``.

    The rates in events hold every factor, that of a warmup too; so the factor of the recoveries is put together from
    the cuts. What the run went on with to its end is the rate to try; a tenth of it where the run diverged at that as
    well, or where nothing cut it.

    Args:
        rate: ``optimizer.lr``.
        events: Events of the run in order.
        diverged: Whether the run ended in a divergence.
        callbacks: The node ``callbacks`` of its configuration.

    Example::

        >>> cut = {"kind": "rollback", "values": {"learning_rate_before": 1.78, "learning_rate_after": 0.01}}
        >>> borne_rate(10.0, [cut], False, {}), borne_rate(10.0, [cut], True, {}), borne_rate(10.0, [], True, {})
        ((1.0, 1.0), (1.0, 0.1), (10.0, 1.0))

    """
    cut = (node_of(callbacks, "DivergenceRecovery") or {}).get("learning_rate_factor", CUT)
    cut = float(cut) if isinstance(cut, int | float) and 0 < cut < 1 else CUT
    factor = 1.0
    for event in events:
        values = event.get("values")
        if event.get("kind") == "rollback":
            factor *= cut
        elif event.get("kind") == "recovery" and isinstance(values, Mapping):
            raised = values.get("factor")
            factor = float(raised) if isinstance(raised, int | float) and 0 < raised <= 1 else factor
    went_on = rate * factor
    return _rounded(went_on), _rounded(went_on * CUT if diverged or factor == 1 else went_on)


def missing_recovery(callbacks: Mapping[str, Any], streams: bool = False) -> str:
    """Overrides that switch on the guards and the recovery that a run was without, beside whatever else it had.

    A recovery that would come after an ``EarlyStopping`` is refused there, so it is only named where its place is kept
    or nothing stops early.

    Args:
        callbacks: The node ``callbacks`` of the run's configuration.
        streams: Whether it trained on streams, whose losses only compare by whole epochs.

    Example::

        >>> missing_recovery({"step_guard": {"_target_": "vestim_pl.callbacks.StepGuard"}, "recovery": None})
        '+callbacks.finite_parameters={_target_:vestim_pl.callbacks.FiniteParameterGuard}
         callbacks.recovery={_target_:vestim_pl.callbacks.DivergenceRecovery}'

    """
    named = []
    for name, kind in GUARDS.items():
        if node_of(callbacks, kind):
            continue
        there = name in callbacks
        if name == "recovery" and not there and node_of(callbacks, "EarlyStopping"):
            continue
        named.append(switched_on(callbacks, name, kind))
        if name == "recovery" and streams:
            named.append("+callbacks.recovery.whole_epochs=true")
    return " ".join(named)


def switched_on(callbacks: Mapping[str, Any], name: str, kind: str) -> str:
    """Override that adds a callback, or puts it back where the configuration has it as null; empty where it is on.

    Args:
        callbacks: The node ``callbacks`` of a configuration.
        name: Key of the callback below it.
        kind: Class of the callback in `callbacks`.

    Example::

        >>> switched_on({"flush_denormals": None}, "flush_denormals", "FlushDenormals")
        'callbacks.flush_denormals={_target_:vestim_pl.callbacks.FlushDenormals}'

    """
    if node_of(callbacks, kind):
        return ""
    return f"{'' if name in callbacks else '+'}callbacks.{name}={{_target_:vestim_pl.callbacks.{kind}}}"


def _rounded(rate: float) -> float:
    return float(f"{rate:.6g}")  # 0.1 x 0.1 is 0.01
