"""Rules for the keys of the training: rate, optimizer, epochs, device, repetitions, time."""

import re

from vestim_pl.app.vestim.draft import Draft
from vestim_pl.app.vestim.values import Choice

__all__ = ["convert_training"]

_DIRECT = {
    "INITIAL_LR": ("optimizer.lr", ""),
    "WEIGHT_DECAY": ("optimizer.weight_decay", ""),
    "MAX_EPOCHS": ("trainer.max_epochs", ""),
    "VALID_PATIENCE": ("callbacks.early_stopping.patience", "VEstim stops one validation later"),
}
_CLOCK = {"MAX_TRAIN_HOURS": 3600, "MAX_TRAIN_MINUTES": 60, "MAX_TRAIN_SECONDS": 1}
_SECONDS = "MAX_TRAINING_TIME_SECONDS"


def convert_training(draft: Draft) -> None:
    """Convert the keys of the training.

    Raises:
        ConfigurationError: If a value makes no sense, or two keys contradict each other.

    """
    for key, (target, note) in _DIRECT.items():
        if choice := draft.take(key):
            draft.put(key, target, choice, note)
    _optimizer(draft)
    _frequency(draft)
    _precision(draft)
    _device(draft)
    _repetitions(draft)
    _time(draft)


def _optimizer(draft: Draft) -> None:
    if not (optimizer := draft.take("OPTIMIZER_TYPE")):
        return
    decayed = "AdamW" in optimizer.values and not draft.given("WEIGHT_DECAY")
    note = "with the weight decay of conf/optimizer/adamw.yaml; VEstim's is 0 without WEIGHT_DECAY" if decayed else ""
    draft.put("OPTIMIZER_TYPE", "optimizer", optimizer.map(str.lower), note, chooses=True)


def _frequency(draft: Draft) -> None:
    found, *passed_over = draft.given("VALID_FREQUENCY", "ValidFrequency") or [""]
    for key in passed_over:
        draft.leave(key, f"{found} takes precedence")
    if found and (every := draft.take(found)):
        draft.put(found, "trainer.check_val_every_n_epoch", every)


def _precision(draft: Draft) -> None:
    if mixed := draft.take("USE_MIXED_PRECISION"):
        note = "fp16 on CUDA, bf16 on the CPU" if mixed.one else ""
        draft.put("USE_MIXED_PRECISION", "trainer.precision", Choice(("mixed" if mixed.one else "32-true",)), note)


def _device(draft: Draft) -> None:
    if not (device := draft.take("DEVICE_SELECTION")):
        return
    name = device.one.lower()
    found = re.fullmatch(r"(cpu|mps|auto)|(?:cuda|gpu)(?::(\d+))?", name)
    if not found:
        draft.refuse("DEVICE_SELECTION", f'{device.one!r} is not a device; write "cuda:0" or "CPU"')
    if found[1]:
        draft.put("DEVICE_SELECTION", "trainer.accelerator", Choice((found[1],)))
    elif int(found[2] or 0) == 0:
        draft.put("DEVICE_SELECTION", "trainer.accelerator", Choice(("auto",)), "the CPU where there is no GPU")
    else:
        draft.put("DEVICE_SELECTION", "trainer.accelerator", Choice(("cuda",)), f"trainer.devices=[{found[2]}]")
        draft.imply("trainer.devices", Choice(((int(found[2]),),)), "the GPU of DEVICE_SELECTION")


def _repetitions(draft: Draft) -> None:
    if not (count := draft.take("REPETITIONS")):
        return
    searched = any(setting.choice.range for setting in draft.settings)
    if count.one == 1 or searched:
        draft.leave("REPETITIONS", "a search tries everything once" if searched else "one run, of the seed in seed=")
    else:
        draft.put("REPETITIONS", "seed", Choice(tuple(range(count.one))))


def _time(draft: Draft) -> None:
    """The clock of hours, minutes and seconds, or the seconds that VEstim computes from it."""
    given = draft.given(*_CLOCK)
    clock = sum(choice.one * _CLOCK[key] for key in given if (choice := draft.take(key)))
    total = choice.one if (choice := draft.take(_SECONDS)) else 0
    if clock and total and clock != total:
        draft.refuse(_SECONDS, f"{total} s contradicts {' and '.join(given)}, {clock} s together; take one out")
    for key in [*given, *draft.given(_SECONDS)]:
        draft.leave(key, "0 is no limit")
    if not (seconds := clock or total):
        return
    first, *others = [key for key in (*given, *draft.given(_SECONDS)) if draft.take(key).one]  # type: ignore[union-attr]
    hours, minutes = divmod(seconds // 60, 60)
    days, hours = divmod(hours, 24)
    limit = f"{days:02d}:{hours:02d}:{minutes:02d}:{seconds % 60:02d}"
    draft.put(first, "trainer.max_time", Choice((limit,)), "days:hours:minutes:seconds", adds=True)
    for key in others:
        draft.outcomes[key] = f"in the trainer.max_time of {first}"
