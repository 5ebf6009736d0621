"""Catch non-finite parameters in the very step, and keep them out of checkpoints."""

import logging
import math
from collections.abc import Iterator, Sequence
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor

from vestim_pl.callbacks.guards.divergence_message import divergence_message, find_setting
from vestim_pl.errors import DivergenceError
from vestim_pl.functional.finiteness import all_finite, find_nonfinite, joint_norm
from vestim_pl.lightning_support.callback_order import WEIGHT_AVERAGING, require_before
from vestim_pl.lightning_support.checkpoint_finiteness import CheckpointGate, refresh_checkpoint
from vestim_pl.lightning_support.events import publish
from vestim_pl.lightning_support.learning_rate import LearningRateFactors
from vestim_pl.lightning_support.lightning_classes import is_sharded, model_checkpoints
from vestim_pl.lightning_support.protocols import Recovers, ask_for_recovery, callbacks_with
from vestim_pl.lightning_support.tensors import Buffers, buffer_dicts
from vestim_pl.lightning_support.training_snapshot import updated_parameters
from vestim_pl.settings.checks import check_integers

__all__ = ["FiniteParameterGuard"]

_NAMED = 3  # bad tensors named in the message


class FiniteParameterGuard(Callback):
    """Checks after every optimizer step that all parameters are finite, and keeps non-finite ones out of checkpoints.

    Once a parameter is NaN, every further step is wasted, and each checkpoint overwrites a good one. The check is one
    fused norm and one host sync (`all_finite`). If it fails, an event ``non_finite`` is published and the callbacks
    with ``recover_from(trainer, pl_module, reason) -> bool``, such as `DivergenceRecovery`, are asked to recover. If
    none does, training stops with one line that names epoch and batch, learning rate and lookback, the first bad
    parameters, and the remedies with numbers.

    During a fit, no checkpoint with non-finite parameters is written, whatever writes it (top-k, ``last.ckpt``, weights
    only, on exception), and the good file in its place stays. The event is ``checkpoint_removed``. With
    ``every_n_steps`` above 1, a checkpoint may come before the check: the training is recovered first and the
    checkpoint gets the recovered state; under several processes the training stops instead. Sharded strategies write
    checkpoints in their own way, which is not checked.

    Args:
        every_n_steps: Optimizer steps between checks; always checked before validations and at ends of epochs.
        lookback: Window length for the message; None looks in the hyperparameters of module and data module.
        hidden_sizes: Layer sizes for the message; None looks in the hyperparameters.
        check_buffers: Check buffers too (running statistics), except those that are non-finite at the start of the
            training, such as an attention mask of -inf.

    Raises:
        ConfigurationError: If ``every_n_steps`` is not positive, or a ``WeightAveraging`` stands before it.
        DivergenceError: If parameters are non-finite and no callback recovers them.

    Example::

        >>> from lightning.pytorch import Trainer
        >>> trainer = Trainer(callbacks=[FiniteParameterGuard(lookback=400)], logger=False, accelerator="cpu")

    """

    def __init__(
        self,
        every_n_steps: int = 1,
        lookback: int | None = None,
        hidden_sizes: Sequence[int] | None = None,
        check_buffers: bool = True,
    ) -> None:
        self.every_n_steps, self.lookback, self.hidden_sizes = every_n_steps, lookback, hidden_sizes
        self.check_buffers = check_buffers
        check_integers(self, type(self).__name__, every_n_steps=1)
        self.parameter_norm: float | None = None  # with buffers, after this batch, for the callback right after
        self._checked_step = self._batch = 0
        self._exempt: frozenset[str] = frozenset()
        self._buffer_dicts: list[tuple[str, Buffers]] = []
        self._not_saving: list[Any] = []  # checkpoint callbacks that save_on_exception was taken from
        self._gate: CheckpointGate | None = None

    @property
    def watches_for(self) -> tuple[str, ...]:
        return ("non_finite",) if self.every_n_steps == 1 else ()

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        require_before(trainer, self, WEIGHT_AVERAGING)

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        for checkpoint in self._not_saving:
            checkpoint.save_on_exception = True
        self._not_saving.clear()
        if not is_sharded(trainer):
            self._remove_gate(trainer)
            self._gate = CheckpointGate(trainer.strategy.checkpoint_io, admit=_Admission(self, trainer, pl_module))
            trainer.strategy.checkpoint_io = self._gate

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._checked_step = trainer.global_step
        bad = find_nonfinite(pl_module.named_buffers()) if self.check_buffers else ()
        self._exempt = frozenset(tensor.name for tensor in bad)
        self.on_train_epoch_start(trainer, pl_module)
        if not self.finite(trainer, pl_module):
            places = ", ".join(map(str, find_nonfinite(self._watched(trainer, pl_module), _NAMED)))
            earlier = f"resume from an earlier checkpoint than {trainer.ckpt_path}"
            raise DivergenceError(
                f"the parameters are NaN/Inf before the first step, first in {places}; "
                f"{earlier if trainer.ckpt_path else 'check how they are initialized'}"
            )

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._buffer_dicts = buffer_dicts(pl_module) if self.check_buffers else []  # a submodule may have been added

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        self._batch, self.parameter_norm = batch_idx, None
        if trainer.global_step - self._checked_step >= self.every_n_steps:
            self.check(trainer, pl_module)

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.state.fn == "fit" and not trainer.sanity_checking and trainer.global_step != self._checked_step:
            self.check(trainer, pl_module)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.global_step != self._checked_step:
            self.check(trainer, pl_module)

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        # ModelCheckpoint removes or relinks its last file around a save, so it must not start one.
        if not self.finite(trainer, pl_module):
            for callback in model_checkpoints(trainer):
                if callback.save_on_exception:
                    callback.save_on_exception = False
                    self._not_saving.append(callback)

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        if stage == "fit":
            self._remove_gate(trainer)

    def check(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Check now; if a value is non-finite, ask for a recovery, or stop the training.

        Raises:
            DivergenceError: If no callback recovers.

        """
        self._checked_step = trainer.global_step
        finite = self.finite(trainer, pl_module)
        if trainer.strategy.reduce_boolean_decision(finite, all=True):
            return
        message = self.explain(trainer, pl_module)
        recovers = bool(callbacks_with(trainer, Recovers))
        level = logging.WARNING if recovers else logging.DEBUG  # without a recovery the error shows it
        rate = self._learning_rate(trainer)
        publish(trainer, "non_finite", message, batch=self._batch, level=level, learning_rate=rate)
        if not recovers:
            raise DivergenceError(message)
        reason = f"epoch {trainer.current_epoch}, batch {self._batch}: the parameters are not finite"
        if not ask_for_recovery(trainer, pl_module, reason) or not self.finite(trainer, pl_module):
            raise DivergenceError(f"{reason}, and no callback could recover them")

    def explain(self, trainer: Trainer, pl_module: LightningModule) -> str:
        settings = [getattr(source, "hparams", None) for source in (pl_module, getattr(trainer, "datamodule", None))]
        return divergence_message(
            f"model parameters became NaN/Inf after optimizer step {trainer.global_step}",
            epoch=trainer.current_epoch,
            batch=self._batch,
            learning_rate=self._learning_rate(trainer),
            where=find_nonfinite(self._watched(trainer, pl_module), _NAMED),
            lookback=self.lookback or find_setting("lookback", *settings),
            hidden_sizes=self.hidden_sizes or find_setting("hidden_sizes", *settings),
        )

    def is_bad(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> bool:
        """Whether a checkpoint holds non-finite values in the tensors that this guard checks."""
        state = checkpoint.get("state_dict", {})
        return not all_finite(state[name] for name, _ in self._watched(trainer, pl_module) if name in state)

    def finite(self, trainer: Trainer, pl_module: LightningModule) -> bool:
        """Whether the checked tensors are finite on this rank; also measures their norm."""
        watched = [*updated_parameters(trainer), *(buffer for _, buffer in self._buffers())]
        self.parameter_norm = joint_norm(watched)
        return math.isfinite(self.parameter_norm) or all_finite(watched)

    def _watched(self, trainer: Trainer, pl_module: LightningModule) -> Iterator[tuple[str, Tensor]]:
        """The parameters that an optimizer changes, and the buffers, by name."""
        owned = {id(parameter) for parameter in updated_parameters(trainer)}
        yield from ((name, p) for name, p in pl_module.named_parameters() if id(p) in owned)
        yield from self._buffers()

    def _buffers(self) -> Iterator[tuple[str, Tensor]]:
        """The checked buffers by name, with those that were replaced or registered since the start of the epoch."""
        for prefix, buffers in self._buffer_dicts:
            for name, buffer in buffers.items():
                if buffer is not None and prefix + name not in self._exempt:
                    yield prefix + name, buffer

    @staticmethod
    def _learning_rate(trainer: Trainer) -> float:
        return LearningRateFactors.of(trainer).used(trainer.optimizers[0])[0]

    def _remove_gate(self, trainer: Trainer) -> None:
        if self._gate is not None and trainer.strategy.checkpoint_io is self._gate:
            trainer.strategy.checkpoint_io = self._gate.inner
        self._gate = None


class _Admission:
    """Decides for the gate whether a checkpoint is written.

    A bad checkpoint of a running fit is recovered first, or ends the fit. After an exception it is not written.
    """

    def __init__(self, guard: FiniteParameterGuard, trainer: Trainer, pl_module: LightningModule) -> None:
        self.guard, self.trainer, self.pl_module = guard, trainer, pl_module
        self._recovering = False  # a recovery may itself save a checkpoint, which comes here again

    def __call__(self, checkpoint: dict[str, Any], path: Any) -> bool:
        if not self.guard.is_bad(self.trainer, self.pl_module, checkpoint):
            return True
        if not self.trainer.interrupted:
            self._rescue(checkpoint)
            return True
        reason = f"did not write {path}, because its parameters are NaN/Inf; an earlier file of that name is unchanged"
        publish(self.trainer, "checkpoint_removed", reason, path=str(path))
        return False

    def _rescue(self, checkpoint: dict[str, Any]) -> None:
        """Recover the training and then the checkpoint; with ``every_n_steps`` this may be the first check to fail.

        With several ranks the fit ends instead: only rank zero comes here, and a recovery needs all ranks.
        """
        parts = self.trainer, self.pl_module
        if self.trainer.world_size == 1 and not self._recovering and not self.guard.finite(*parts):
            self._recovering = True
            try:
                self.guard.check(*parts)
            finally:
                self._recovering = False
            refresh_checkpoint(self.trainer, checkpoint)
        if self.guard.is_bad(*parts, checkpoint):
            raise DivergenceError(self.guard.explain(*parts))
