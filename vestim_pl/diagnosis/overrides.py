"""Overrides to suggest after a divergence: a tolerated learning rate, and callbacks that the run lacked."""

from collections.abc import Mapping, Sequence
from typing import Any

from vestim_pl.settings.override import Override

__all__ = [
    "callback_key",
    "callback_settings",
    "learning_rate",
    "missing_recovery",
    "switch_on",
    "tolerated_rate",
]

CUT = 0.1
"""Factor on a learning rate at which a run diverged; `DivergenceRecovery` has the same default."""
GUARDS = {"step_guard": "StepGuard", "finite_parameters": "FiniteParameterGuard", "recovery": "DivergenceRecovery"}


def learning_rate(rate: float | None) -> tuple[Override, ...]:
    """Suggest a learning rate; nothing for None.

    Example::

        >>> str(learning_rate(1e-4)[0]), learning_rate(None)
        ('optimizer.lr=0.0001', ())

    """
    return () if rate is None else (Override("optimizer.lr", rate),)


def tolerated_rate(
    rate: float, events: Sequence[Mapping[str, Any]], diverged: bool, callbacks: Mapping[str, Any]
) -> tuple[float, float]:
    """Return the base rate at which a run ended, and the one to try next, both in the unit of ``optimizer.lr``.

    The rates in events include every factor, such as that of a warmup, so the factor of the recoveries is computed from
    their cuts. The rate to try is the one at which the run ended, or a tenth of it if the run diverged at that rate or
    nothing cut the rate.

    Args:
        rate: ``optimizer.lr``.
        events: Events of the run in order.
        diverged: Whether the run ended in a divergence.
        callbacks: The node ``callbacks`` of its configuration.

    Example::

        >>> cut = {"kind": "rollback", "values": {"learning_rate_before": 1.78, "learning_rate_after": 0.01}}
        >>> tolerated_rate(10.0, [cut], False, {})
        (1.0, 1.0)
        >>> tolerated_rate(10.0, [cut], True, {}), tolerated_rate(10.0, [], True, {})
        ((1.0, 0.1), (10.0, 1.0))

    """
    cut = (callback_settings(callbacks, "DivergenceRecovery") or {}).get("learning_rate_factor", CUT)
    cut = float(cut) if isinstance(cut, int | float) and 0 < cut < 1 else CUT
    factor = 1.0
    for event in events:
        if event.get("kind") == "rollback":
            factor *= cut
        elif event.get("kind") == "recovery":
            raised = event.get("values", {}).get("factor")
            factor = float(raised) if isinstance(raised, int | float) and 0 < raised <= 1 else factor
    final = rate * factor
    return _rounded(final), _rounded(final * CUT if diverged or factor == 1 else final)


def missing_recovery(callbacks: Mapping[str, Any], streams: bool = False) -> tuple[Override, ...]:
    """Switch on the guards and the recovery that a run lacked; its other callbacks stay.

    `DivergenceRecovery` must come before `EarlyStopping`, and an added callback comes last. So the recovery is left out
    if the run has an early stopping but no key for a recovery.

    Args:
        callbacks: The node ``callbacks`` of the run's configuration.
        streams: Whether it trained on streams, whose losses are comparable only over whole epochs.

    Example::

        >>> nodes = {"step_guard": {"_target_": "vestim_pl.callbacks.StepGuard"}, "recovery": None}
        >>> [override.key for override in missing_recovery(nodes)]
        ['callbacks.finite_parameters', 'callbacks.recovery']

    """
    overrides: list[Override] = []
    for name, kind in GUARDS.items():
        if name == "recovery" and name not in callbacks and callback_key(callbacks, "EarlyStopping"):
            continue
        found = switch_on(callbacks, name, kind)
        overrides += found
        if name == "recovery" and streams and found:
            overrides.append(Override("callbacks.recovery.whole_epochs", True, added=True))
    return tuple(overrides)


def switch_on(callbacks: Mapping[str, Any], name: str, kind: str) -> tuple[Override, ...]:
    """Add a callback, also where the configuration has null for it; nothing if it is on.

    Args:
        callbacks: The node ``callbacks`` of a configuration.
        name: Key of the callback below it.
        kind: Class of the callback in `vestim_pl.callbacks`.

    Example::

        >>> str(switch_on({"flush_denormals": None}, "flush_denormals", "FlushDenormals")[0])
        "'callbacks.flush_denormals={_target_:vestim_pl.callbacks.FlushDenormals}'"

    """
    if callback_key(callbacks, kind):
        return ()
    node = {"_target_": f"vestim_pl.callbacks.{kind}"}
    return (Override(f"callbacks.{name}", node, added=name not in callbacks),)


def callback_key(callbacks: Mapping[str, Any], kind: str) -> str:
    """Find the key of the first callback of a class; empty if there is none or it is switched off.

    Users choose the keys, so the class of a node decides.

    Args:
        callbacks: The node ``callbacks`` of a configuration, as a dictionary.
        kind: Name of the class.

    Example::

        >>> nodes = {"recovery": None, "stop": {"_target_": "lightning.pytorch.callbacks.EarlyStopping"}}
        >>> callback_key(nodes, "EarlyStopping"), callback_key(nodes, "DivergenceRecovery")
        ('stop', '')

    """
    nodes = ((name, node) for name, node in callbacks.items() if isinstance(node, Mapping))
    return next((name for name, node in nodes if str(node.get("_target_", "")).rpartition(".")[2] == kind), "")


def callback_settings(callbacks: Mapping[str, Any], kind: str) -> Mapping[str, Any] | None:
    """Settings of the callback that `callback_key` finds, or None."""
    name = callback_key(callbacks, kind)
    return callbacks[name] if name else None


def _rounded(rate: float) -> float:
    return float(f"{rate:.6g}")
