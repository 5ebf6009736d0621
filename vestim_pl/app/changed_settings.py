"""Settings that differ between a run and the checkpoint that it resumes from: which are used, and which are refused.

This module holds the one table of that decision; ``docs/checkpoints.md`` explains it.
"""

import inspect
import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from fnmatch import fnmatchcase
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.pytorch.callbacks import Callback
from omegaconf import DictConfig

from vestim_pl.app.conf_tree import plain
from vestim_pl.errors import ConfigurationError
from vestim_pl.lightning_support.exact_resume import is_epoch_end
from vestim_pl.settings.override import Override, command_text, hydra_value

__all__ = [
    "MISSING",
    "RULES",
    "Change",
    "Rule",
    "SettingsInCheckpoint",
    "changes",
    "refuse_changed_settings",
    "rule_of",
    "settings_of",
]

MISSING = "???"

_log = logging.getLogger("vestim_pl")
_KEY = "settings"
_OF_ESTIMATOR = ("network", "optimizer", "scheduler")  # among its hyperparameters
_OF_RUN = ("sampling", "data", "trainer", "callbacks")


class Rule(StrEnum):
    """What a resumed run does with a setting that has changed.

    Attributes:
        APPLIED: The run uses the new value.
        AT_EPOCH_END: The same, if the checkpoint was written at the end of an epoch; else the change is refused.
        REFUSED: The change is refused before training.
        ELSEWHERE: The setting says where files are, or follows another one that has a rule; it is not compared.

    """

    APPLIED = "applied"
    AT_EPOCH_END = "applied at the end of an epoch"
    REFUSED = "refused"
    ELSEWHERE = "not compared"


# The first pattern that fits decides.
RULES: tuple[tuple[str, Rule], ...] = (
    ("seed", Rule.REFUSED),  # the random state is that of the checkpoint
    ("network.dropout", Rule.APPLIED),
    ("network.lookback", Rule.ELSEWHERE),  # only for the initialisation
    ("network.*", Rule.REFUSED),  # another function of the same weights, or an initialisation, which is over
    ("optimizer.name", Rule.REFUSED),  # its moments mean something else
    ("optimizer.*", Rule.APPLIED),
    ("scheduler.name", Rule.REFUSED),  # its position means something else
    ("scheduler.*", Rule.APPLIED),
    ("sampling._target_", Rule.REFUSED),
    ("sampling.horizon", Rule.REFUSED),  # another target
    ("sampling.evaluation", Rule.REFUSED),  # validation errors before and after could not be compared
    ("sampling.evaluation_stride", Rule.REFUSED),
    ("sampling.evaluation_*", Rule.APPLIED),
    ("sampling.orders", Rule.ELSEWHERE),  # follows network.members
    ("sampling.*", Rule.AT_EPOCH_END),  # the position within an epoch is a number of batches
    ("data.features", Rule.REFUSED),  # weights and scales belong to the columns
    ("data.rc_pairs", Rule.REFUSED),
    ("data.cold_factor", Rule.REFUSED),
    ("data.root", Rule.ELSEWHERE),
    ("data.cache", Rule.ELSEWHERE),
    ("data.seed", Rule.AT_EPOCH_END),
    ("data.*", Rule.APPLIED),
    ("trainer.devices", Rule.AT_EPOCH_END),
    ("trainer.num_nodes", Rule.AT_EPOCH_END),
    ("trainer.limit_train_batches", Rule.AT_EPOCH_END),
    ("trainer.overfit_batches", Rule.AT_EPOCH_END),
    ("trainer.default_root_dir", Rule.ELSEWHERE),
    ("trainer.*", Rule.APPLIED),
    ("callbacks.*.monitor", Rule.REFUSED),  # its best value is that of another metric
    ("callbacks.*.mode", Rule.REFUSED),
    ("callbacks.*path", Rule.ELSEWHERE),
    ("callbacks.*folder", Rule.ELSEWHERE),
    ("callbacks.*", Rule.APPLIED),
)


def rule_of(setting: str) -> Rule:
    """Find the rule of a setting.

    Example::

        >>> rule_of("optimizer.lr").value, rule_of("callbacks.plateau.monitor").value
        ('applied', 'refused')

    """
    return next(rule for pattern, rule in RULES if fnmatchcase(setting, pattern))


@dataclass(frozen=True)
class Change:
    """A setting that differs.

    Attributes:
        setting: Dotted name.
        before: Its value in the run that wrote the checkpoint; ``MISSING`` if that run did not have it.
        now: Its value in this run; ``MISSING`` if this run does not have it.

    """

    setting: str
    before: Any
    now: Any

    def __str__(self) -> str:
        if self.before in (MISSING, None) and isinstance(self.now, Mapping):
            return f"{self.setting} added"
        if self.now in (MISSING, None) and isinstance(self.before, Mapping):
            return f"{self.setting} removed"
        before, now = ("none" if value == MISSING else hydra_value(value) for value in (self.before, self.now))
        return f"{self.setting} {now} (was {before})"


def changes(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[Change]:
    """List the settings that differ, in the order of their names.

    Of what has another kind now, as another class of network, only the kind is listed. A callback that is missing
    equals one that is null.

    Example::

        >>> print(changes({"optimizer": {"lr": 0.1, "eps": 1e-8}}, {"optimizer": {"lr": 0.2, "eps": 1e-8}})[0])
        optimizer.lr 0.2 (was 0.1)

    """
    found = _differences("", before, now)
    return [change for change in found if rule_of(change.setting) is not Rule.ELSEWHERE]


def _differences(prefix: str, before: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[Change]:
    names = sorted(before.keys() | now.keys())
    kinds = [name for name in ("_target_", "name") if before.get(name) != now.get(name)]
    for name in kinds or names:
        first, second = before.get(name, MISSING), now.get(name, MISSING)
        if isinstance(first, Mapping) and isinstance(second, Mapping):
            yield from _differences(f"{prefix}{name}.", first, second)
        elif first != second and not {str(first), str(second)} <= {MISSING, "None"}:
            yield Change(f"{prefix}{name}", first, second)


def refuse_changed_settings(ckpt_path: str, checkpoint: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    """Refuse changed settings that a resumed run could not use, and log those that it uses.

    Args:
        ckpt_path: The checkpoint, for messages.
        checkpoint: Its content.
        now: Settings of this run, see `settings_of`.

    Raises:
        ConfigurationError: With the settings, and the overrides that repeat those of the checkpoint.

    """
    hyperparameters, stored = _mapping(checkpoint.get("hyper_parameters")), _mapping(checkpoint.get(_KEY))
    before = {name: hyperparameters[name] for name in _OF_ESTIMATOR if name in hyperparameters} | stored
    found = changes(before, {name: value for name, value in now.items() if name in before})
    allowed = (Rule.APPLIED, Rule.AT_EPOCH_END) if is_epoch_end(checkpoint) else (Rule.APPLIED,)
    if refused := [change for change in found if rule_of(change.setting) not in allowed]:
        within = any(rule_of(change.setting) is Rule.AT_EPOCH_END for change in refused)
        moment = " and within an epoch" if within else ""
        raise ConfigurationError(
            f"ckpt_path: {ckpt_path} was written with other settings{moment}, and a resumed run cannot change"
            f" {'; '.join(map(str, refused))}; {_repeat(refused, before)}, or start a new training without ckpt_path"
        )
    _refuse_options_without_state(ckpt_path, before.get("optimizer"), now.get("optimizer"))
    if found:
        _log.warning("resuming with changed settings: %s", "; ".join(map(str, found)))


def _mapping(value: object) -> dict[str, Any]:
    return dict(value) if isinstance(value, Mapping) else {}


def _repeat(refused: Sequence[Change], before: Mapping[str, Any]) -> str:
    """Suggest the overrides that give settings the values of the checkpoint."""
    added = [change.setting for change in refused if change.before == MISSING]
    overrides = [override for change in refused if change.before != MISSING for override in _back(change, before)]
    parts = [f"leave out {', '.join(added)}"] if added else []
    return " and ".join(parts + ([f"repeat {command_text(overrides)}"] if overrides else []))


def _back(change: Change, before: Mapping[str, Any]) -> list[Override]:
    if change.setting == "scheduler.name":
        options = [Override(f"scheduler.{key}", value) for key, value in before["scheduler"].items() if key != "name"]
        plateau = change.before == "none" and _mapping(before.get("callbacks")).get("plateau")
        return [Override("scheduler", "plateau" if plateau else change.before), *options]
    if change.setting == "sampling._target_":
        kind = str(change.before).rpartition(".")[2].removesuffix("Sampling").lower()
        return [Override("sampling", f"{kind}s")]  # StreamSampling is sampling=streams
    if change.setting == "network.name":
        return [Override("network", str(change.before).lower())]
    return [Override(change.setting, change.before, added=change.now == MISSING)]


def _refuse_options_without_state(
    ckpt_path: str, before: Mapping[str, Any] | None, now: Mapping[str, Any] | None
) -> None:
    """Refuse an option of the optimizer, such as ``amsgrad``, that needs a moment which the checkpoint lacks."""
    if not before or not now or before == now or not (lacking := _moments(now) - _moments(before)):
        return
    needing = [key for key in now if lacking & _moments({**before, key: now[key]})]
    raise ConfigurationError(
        f"ckpt_path: {ckpt_path} has no {', '.join(sorted(lacking))}, which"
        f" {command_text([Override(f'optimizer.{key}', now[key]) for key in needing])} needs of every parameter; leave"
        " it out, or start a new training without ckpt_path"
    )


def _moments(spec: Mapping[str, Any]) -> set[str]:
    """Name what an optimizer keeps of a parameter; nothing if a step of a single parameter does not show it."""
    options = dict(spec)
    parameter = torch.nn.Parameter(torch.ones(1, 1))
    parameter.grad = torch.ones(1, 1)
    try:
        optimizer = getattr(torch.optim, options.pop("name"))([parameter], **options)
        optimizer.step()
    except (TypeError, RuntimeError):  # LBFGS wants a closure, SparseAdam a sparse gradient
        return set()
    return {name for name, value in optimizer.state[parameter].items() if value is not None}


class SettingsInCheckpoint(Callback):
    """Writes the settings of a run into its checkpoints, and keeps a restored callback from taking other arguments.

    Lightning's ``EarlyStopping`` takes its patience from a checkpoint. What was an argument of a callback stays as this
    run has set it.
    """

    def __init__(self, settings: Mapping[str, Any]) -> None:
        self.settings = {name: settings[name] for name in ("seed", *_OF_RUN)}
        self._arguments: list[tuple[Callback, dict[str, Any]]] = []

    def on_save_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        checkpoint[_KEY] = self.settings

    def on_load_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        self._arguments = [(each, _arguments(each)) for each in trainer.callbacks]  # type: ignore[attr-defined]

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        for callback, arguments in self._arguments:
            vars(callback).update(arguments)
        self._arguments = []


def settings_of(config: DictConfig) -> dict[str, Any]:
    """Return the settings that a resumed run compares with those of its checkpoint."""
    return {"seed": config.seed, **{name: plain(config[name]) for name in (*_OF_ESTIMATOR, *_OF_RUN)}}


def _arguments(callback: Callback) -> dict[str, Any]:
    """Values of a callback's arguments, as far as it keeps them under their names."""
    names = inspect.signature(type(callback).__init__).parameters
    return {name: value for name, value in vars(callback).items() if name in names}
