"""Rules for the keys of the training: optimizer, schedule, epochs, device, repetitions and time limit."""

import re

from vestim_pl.app.vestim.draft import Draft
from vestim_pl.app.vestim.values import Choice

__all__ = ["convert_schedule", "convert_training"]

# VEstim's name: the scheduler here, and for each of its settings the keys; the first key that has a value applies.
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
_SECONDS = {"MAX_TRAIN_HOURS": 3600, "MAX_TRAIN_MINUTES": 60, "MAX_TRAIN_SECONDS": 1}
_TOTAL = "MAX_TRAINING_TIME_SECONDS"  # which VEstim computes from the three


def convert_schedule(draft: Draft) -> None:
    """Convert the schedule of the learning rate.

    Raises:
        ConfigurationError: If a value is not valid.

    """
    named = draft.take("SCHEDULER_TYPE")
    kind = named.one if named else _only_schedule_with_keys(draft)
    for name, (option, targets) in _SCHEDULES.items():
        if name != kind:
            for key in draft.given(*_keys(targets)):
                draft.leave(key, f"for {name}, which the file does not choose")
            continue
        if named:
            draft.put("SCHEDULER_TYPE", "scheduler", Choice((option,)), chooses=True)
        else:
            draft.imply("scheduler", Choice((option,)), f"the file has keys of {name} only", chooses=True)
        for target, keys in targets.items():
            draft.put_first(target, *keys, group="scheduler")


def convert_training(draft: Draft) -> None:
    """Convert all other keys of the training.

    Raises:
        ConfigurationError: If a value is not valid, or two keys contradict each other.

    """
    draft.put_first("optimizer.lr", "INITIAL_LR")
    draft.put_first("optimizer.weight_decay", "WEIGHT_DECAY")
    draft.put_first("trainer.max_epochs", "MAX_EPOCHS")
    draft.put_first("trainer.check_val_every_n_epoch", "VALID_FREQUENCY", "ValidFrequency")
    draft.put_first("callbacks.early_stopping.patience", "VALID_PATIENCE", note="VEstim stops one validation later")
    _optimizer(draft)
    if mixed := draft.take("USE_MIXED_PRECISION"):
        precision, note = ("mixed", "fp16 on CUDA, bf16 on the CPU") if mixed.one else ("32-true", "")
        draft.put("USE_MIXED_PRECISION", "trainer.precision", Choice((precision,)), note)
    _device(draft)
    _repetitions(draft)
    _time_limit(draft)


def _only_schedule_with_keys(draft: Draft) -> str:
    found = [name for name, (_, targets) in _SCHEDULES.items() if draft.given(*_keys(targets))]
    return found[0] if len(found) == 1 else ""


def _keys(targets: dict[str, tuple[str, ...]]) -> list[str]:
    return [key for keys in targets.values() for key in keys]


def _optimizer(draft: Draft) -> None:
    if not (optimizer := draft.take("OPTIMIZER_TYPE")):
        return
    decays = "AdamW" in optimizer.values and not draft.given("WEIGHT_DECAY")
    note = "with the weight decay of conf/optimizer/adamw.yaml; VEstim's is 0 without WEIGHT_DECAY" if decays else ""
    draft.put("OPTIMIZER_TYPE", "optimizer", optimizer.map(str.lower), note, chooses=True)


def _device(draft: Draft) -> None:
    if not (device := draft.take("DEVICE_SELECTION")):
        return
    found = re.fullmatch(r"(cpu|mps|auto)|(?:cuda|gpu)(?::(\d+))?", device.one.lower())
    if not found:
        draft.refuse("DEVICE_SELECTION", f'{device.one!r} is not a device; write "cuda:0" or "CPU"')
    name, number = found[1], int(found[2] or 0)
    if name:
        draft.put("DEVICE_SELECTION", "trainer.accelerator", Choice((name,)))
    elif number == 0:
        draft.put("DEVICE_SELECTION", "trainer.accelerator", Choice(("auto",)), "the CPU where there is no GPU")
    else:
        draft.put("DEVICE_SELECTION", "trainer.accelerator", Choice(("cuda",)), f"trainer.devices=[{number}]")
        draft.imply("trainer.devices", Choice(((number,),)), "the GPU of DEVICE_SELECTION")


def _repetitions(draft: Draft) -> None:
    if not (count := draft.take("REPETITIONS")):
        return
    if any(setting.choice.range for setting in draft.settings):
        draft.leave("REPETITIONS", "a search tries everything once")
    elif count.one == 1:
        draft.leave("REPETITIONS", "one run, with the seed of seed=")
    else:
        draft.put("REPETITIONS", "seed", Choice(tuple(range(count.one))))


def _time_limit(draft: Draft) -> None:
    """Convert hours, minutes and seconds, or the seconds that VEstim computes from them."""
    parts = draft.given(*_SECONDS)
    seconds = {key: draft.read(key).one * _SECONDS[key] for key in parts}
    summed, total = sum(seconds.values()), choice.one if (choice := draft.take(_TOTAL)) else 0
    if summed and total and summed != total:
        draft.refuse(_TOTAL, f"{total} s contradicts {' and '.join(parts)}, {summed} s together; remove one of them")
    given = [*parts, *draft.given(_TOTAL)]
    for key in given:
        draft.leave(key, "0 means no limit")
    if not (limit := summed or total):
        return
    first, *others = [key for key in given if draft.read(key).one]
    minutes, rest = divmod(limit, 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    text = f"{days:02d}:{hours:02d}:{minutes:02d}:{rest:02d}"
    draft.put(first, "trainer.max_time", Choice((text,)), "days:hours:minutes:seconds", adds=True)
    for key in others:
        draft.outcomes[key] = f"part of the trainer.max_time of {first}"
