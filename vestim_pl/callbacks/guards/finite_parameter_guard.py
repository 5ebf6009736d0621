"""Stop, or have recovered, a training whose parameters are no longer finite, in the very step."""

import logging
import math
from collections.abc import Iterator, Sequence
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor

from vestim_pl.callbacks.guards.divergence_message import divergence_message, find_setting
from vestim_pl.errors import DivergenceError
from vestim_pl.lightning_support.callback_order import WEIGHT_AVERAGING, require_before
from vestim_pl.lightning_support.checkpoint_finiteness import refresh_checkpoint
from vestim_pl.lightning_support.checkpoint_gate import CheckpointGate
from vestim_pl.lightning_support.events import publish
from vestim_pl.lightning_support.finiteness import all_finite, find_nonfinite
from vestim_pl.lightning_support.learning_rate import LearningRateFactors
from vestim_pl.lightning_support.lightning_classes import is_sharded, model_checkpoints
from vestim_pl.lightning_support.recovery_request import ask_for_recovery, can_recover
from vestim_pl.lightning_support.step_finiteness import joint_norm
from vestim_pl.lightning_support.training_snapshot import updated_parameters
from vestim_pl.settings.checks import check_integers

__all__ = ["FiniteParameterGuard"]

_NAMED = 3  # bad tensors named in the message


class FiniteParameterGuard(Callback):
    """Checks after every optimizer step that all parameters are finite, and lets no poisoned checkpoint be written.

    Once a parameter is NaN, every further step is lost, and what is saved overwrites the good. The check is one fused
    norm and one host sync (`all_finite`). If it fails, an event ``non_finite``
    tells so; then callbacks with ``recover_from(trainer, pl_module, reason) -> bool``, such as
    `DivergenceRecovery`, are asked to take over; if none does, training stops with one line: where, at which
    learning rate and lookback, which parameters, and the remedies with numbers.

    While fitting, a gate stands before the trainer's checkpoint files: a checkpoint with non-finite parameters is not
    written, whoever saves it (top-k, ``last.ckpt``, weights only, on exception), and the good one it would have
    replaced stays. The event is ``checkpoint_removed``. With sharded strategies, which write in their own way, there is
    no gate. What is about to be saved in a running fit (with ``every_n_steps`` above 1 it may not have been checked) is
    recovered first, as after a check, and so is the checkpoint; under several processes it stops the training.

    Args:
        every_n_steps: Check after every so many optimizer steps; always before a validation and at an epoch's end.
        lookback: Window length for the message; None to look for it in the hyperparameters of module and data module.
        hidden_sizes: Layer sizes for the message; None to look for them likewise.
        check_buffers: Check buffers too (running statistics), but for those that were not finite to begin with, such as
            an attention mask of -inf.

    Raises:
        ConfigurationError: If ``every_n_steps`` is not positive, or a ``WeightAveraging`` stands before it.
        DivergenceError: If parameters are not finite and no callback recovers them.

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
        self.parameter_norm: float | None = None  # with the buffers; of this batch, for the callback right after
        self._checked_step = self._batch = 0
        self._exempt: frozenset[str] = frozenset()
        self._buffer_dicts: list[tuple[str, dict[str, Tensor | None]]] = []
        self._silenced: list[Any] = []
        self._gate: CheckpointGate | None = None

    @property
    def watches_for(self) -> tuple[str, ...]:
        """Events that it looks out for at every step."""
        return ("non_finite",) if self.every_n_steps == 1 else ()

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        require_before(trainer, self, WEIGHT_AVERAGING)

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        for checkpoint in self._silenced:
            checkpoint.save_on_exception = True
        self._silenced.clear()
        if not is_sharded(trainer):
            self._open_gate(trainer)
            self._gate = CheckpointGate(trainer.strategy.checkpoint_io, admit=_Admission(self, trainer, pl_module))
            trainer.strategy.checkpoint_io = self._gate

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._checked_step = trainer.global_step
        bad = find_nonfinite(pl_module.named_buffers()) if self.check_buffers else ()
        self._exempt = frozenset(tensor.name for tensor in bad)
        self._find_buffers(pl_module)
        if not self.finite(trainer, pl_module):
            places = ", ".join(map(str, find_nonfinite(self._watched(trainer, pl_module), _NAMED)))
            way_out = f"resume from an earlier checkpoint than {trainer.ckpt_path}"
            raise DivergenceError(
                f"the parameters are NaN/Inf before the first step, first in {places}; "
                f"{way_out if trainer.ckpt_path else 'look at their initialization'}"
            )

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._find_buffers(pl_module)  # a submodule may have been added

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
        # ModelCheckpoint removes or relinks its last file around a save, so it must not even try.
        if not self.finite(trainer, pl_module):
            for callback in model_checkpoints(trainer):
                if getattr(callback, "save_on_exception", False):  # Lightning has it from 2.6 on
                    callback.save_on_exception = False
                    self._silenced.append(callback)

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        if stage == "fit":
            self._open_gate(trainer)

    def check(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Check now, and have recovered or raise what is not finite."""
        self._checked_step = trainer.global_step
        finite = self.finite(trainer, pl_module)
        if trainer.strategy.reduce_boolean_decision(finite, all=True):
            return
        message = self.explain(trainer, pl_module)
        recovers = can_recover(trainer)
        level = logging.WARNING if recovers else logging.DEBUG  # the terminal has it from the error
        rate = self._learning_rate(trainer)
        publish(trainer, "non_finite", message, batch=self._batch, level=level, learning_rate=rate)
        if not recovers:
            raise DivergenceError(message)
        told = f"epoch {trainer.current_epoch}, batch {self._batch}: the parameters are not finite"
        if not ask_for_recovery(trainer, pl_module, told) or not self.finite(trainer, pl_module):
            raise DivergenceError(f"{told}, and no callback could bring them back")

    def explain(self, trainer: Trainer, pl_module: LightningModule) -> str:
        """The message for parameters that are not finite now."""
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

    def poisoned(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> bool:
        """Whether a checkpoint holds non-finite values where this guard watches."""
        state = checkpoint.get("state_dict", {})
        return not all_finite(state[name] for name, _ in self._watched(trainer, pl_module) if name in state)

    def finite(self, trainer: Trainer, pl_module: LightningModule) -> bool:
        """Whether all that is watched is finite on this rank."""
        watched = [*updated_parameters(trainer), *self._live_buffers()]
        self.parameter_norm = joint_norm(watched)
        return math.isfinite(self.parameter_norm) or all_finite(watched)

    def _find_buffers(self, pl_module: LightningModule) -> None:
        """Remember where the module's buffers are kept; to walk through all submodules takes longer than the check."""
        places = pl_module.named_modules() if self.check_buffers else ()
        self._buffer_dicts = [(f"{path}." if path else "", module._buffers) for path, module in places]

    def _live_buffers(self) -> Iterator[Tensor]:
        """The buffers as they are now, also those that were replaced or registered since."""
        for prefix, buffers in self._buffer_dicts:
            for name, buffer in buffers.items():
                if buffer is not None and (not self._exempt or prefix + name not in self._exempt):
                    yield buffer

    def _watched(self, trainer: Trainer, pl_module: LightningModule) -> Iterator[tuple[str, Tensor]]:
        """What an optimizer changes, by name, and the buffers."""
        owned = {id(parameter) for parameter in updated_parameters(trainer)}
        yield from ((name, p) for name, p in pl_module.named_parameters() if id(p) in owned)
        yield from self._buffers(pl_module)

    def _buffers(self, pl_module: LightningModule) -> Iterator[tuple[str, Tensor]]:
        if self.check_buffers:
            yield from ((name, buffer) for name, buffer in pl_module.named_buffers() if name not in self._exempt)

    @staticmethod
    def _learning_rate(trainer: Trainer) -> float:
        return LearningRateFactors.of(trainer).used(trainer.optimizers[0])[0]

    def _open_gate(self, trainer: Trainer) -> None:
        if self._gate is not None and trainer.strategy.checkpoint_io is self._gate:
            trainer.strategy.checkpoint_io = self._gate.inner
        self._gate = None


class _Admission:
    """Decides for the gate: a poisoned checkpoint is recovered or ends a running fit; one abandoned leaves it out."""

    def __init__(self, guard: FiniteParameterGuard, trainer: Trainer, pl_module: LightningModule) -> None:
        self.guard, self.trainer, self.pl_module = guard, trainer, pl_module
        self._asked = False  # a recovery may save by itself, and come here again

    def __call__(self, checkpoint: dict[str, Any], path: Any) -> bool:
        if not self.guard.poisoned(self.trainer, self.pl_module, checkpoint):
            return True
        if not self.trainer.interrupted:
            self._rescue(checkpoint)
            return True
        reason = f"did not write {path}: its parameters are NaN/Inf; what was there before still is"
        publish(self.trainer, "checkpoint_removed", reason, path=str(path))
        return False

    def _rescue(self, checkpoint: dict[str, Any]) -> None:
        """Have the training recovered, and the checkpoint with it; with ``every_n_steps`` this may be the first to see.

        Several ranks cannot: only rank zero comes to the gate, and a recovery is for all of them.
        """
        parts = self.trainer, self.pl_module
        if self.trainer.world_size == 1 and not self._asked and not self.guard.finite(*parts):
            self._asked = True
            try:
                self.guard.check(*parts)  # raises where nobody recovers
            finally:
                self._asked = False
            refresh_checkpoint(self.trainer, checkpoint)
        if self.guard.poisoned(*parts, checkpoint):
            raise DivergenceError(self.guard.explain(*parts))
