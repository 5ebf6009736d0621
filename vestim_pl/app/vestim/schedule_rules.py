"""Rules for the schedule of the learning rate."""

from vestim_pl.app.vestim.draft import Draft
from vestim_pl.app.vestim.values import Choice

__all__ = ["convert_schedule"]

# VEstim's name: the scheduler here, and for each of its settings the keys; the first key that is given applies.
_SCHEDULES: dict[str, tuple[str, dict[str, tuple[str, ...]]]] = {
    "StepLR": (
        "step",
        {"scheduler.period": ("LR_PERIOD", "LR_DROP_PERIOD"), "scheduler.factor": ("LR_PARAM", "LR_DROP_FACTOR")},
    ),
    "ReduceLROnPlateau": (
        "plateau",
        {"callbacks.plateau.patience": ("PLATEAU_PATIENCE",), "callbacks.plateau.factor": ("PLATEAU_FACTOR",)},
    ),
    "CosineAnnealingWarmRestarts": (
        "cosine_warm_restarts",
        {
            "scheduler.t0": ("COSINE_T0",),
            "scheduler.t_mult": ("COSINE_T_MULT",),
            "scheduler.eta_min": ("COSINE_ETA_MIN",),
        },
    ),
    "None": ("none", {}),
}


def convert_schedule(draft: Draft) -> None:
    """Convert the keys of the schedule.

    Raises:
        ConfigurationError: If a value makes no sense.

    """
    named = draft.take("SCHEDULER_TYPE")
    kind = named.one if named else _only_one_with_keys(draft)
    for name, (option, targets) in _SCHEDULES.items():
        if name != kind:
            for key in draft.given(*_keys(targets)):
                draft.leave(key, f"for {name}, which the file does not choose")
            continue
        choice = Choice((option,))
        if named:
            draft.put("SCHEDULER_TYPE", "scheduler", choice, chooses=True)
        else:
            draft.imply("scheduler", choice, f"the file has keys of {name} alone", chooses=True)
        for target, keys in targets.items():
            _put_first(draft, target, keys)


def _only_one_with_keys(draft: Draft) -> str:
    found = [name for name, (_, targets) in _SCHEDULES.items() if draft.given(*_keys(targets))]
    return found[0] if len(found) == 1 else ""


def _keys(targets: dict[str, tuple[str, ...]]) -> list[str]:
    return [key for keys in targets.values() for key in keys]


def _put_first(draft: Draft, target: str, keys: tuple[str, ...]) -> None:
    found, *passed_over = draft.given(*keys) or [""]
    for key in passed_over:
        draft.leave(key, f"{found} takes precedence, as in VEstim")
    if found and (choice := draft.take(found)):
        draft.put(found, target, choice, group="scheduler")
