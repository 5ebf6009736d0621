"""Define the LightningModule of a voltage estimator: loss, metrics and optimizer."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, cast

import torch
from lightning.pytorch import LightningModule
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor
from torch.optim import Optimizer

from vestim_pl.functional.carried_state import resume_state
from vestim_pl.functional.gradient_scaling import scale_to_limit
from vestim_pl.functional.sequence_batch import SequenceBatch
from vestim_pl.lightning_support.callback_order import gradient_norm_before
from vestim_pl.lightning_support.lightning_classes import is_sharded
from vestim_pl.lightning_support.logged_metrics import log_agreed
from vestim_pl.lightning_support.loop_progress import steps_expected
from vestim_pl.lightning_support.precision import clip_under_mixed_precision, is_unscaled_in_step
from vestim_pl.lightning_support.schedulers import build_scheduler, length_of, refuse_other_epochs
from vestim_pl.metrics import VoltageErrors
from vestim_pl.networks import Network, RCPairs, State, build_network
from vestim_pl.networks.ensemble import Ensemble
from vestim_pl.networks.gradient_clipping import clip_gradients
from vestim_pl.networks.scaling import StandardScaler

__all__ = ["VoltageEstimator"]

MILLIVOLTS = 1000.0


class VoltageEstimator(LightningModule):
    """Estimate a lithium-ion cell's terminal voltage from current, temperature, SOC and similar inputs.

    The module holds no data and no configuration objects. Its hyperparameters are plain types and its scaler is stored
    in buffers, so a checkpoint is enough to map amperes, degC and SOC to volts.

    Within a split, the detached state of the network is carried from batch to batch; lanes that a batch marks as
    ``fresh`` start from the zero state. With streams, this is truncated backpropagation through time (Williams & Peng
    1990) under automatic optimization. Windows estimate fewer steps than they contain (T < L), always start from the
    zero state, and carry nothing.

    Shape legend: B batch (or lanes), L steps, F features, T last steps that are estimated.

    ===================== ==========================================================================================
    logged key            meaning
    ===================== ==========================================================================================
    ``train/loss``        weighted mean squared error in scaled units, every ``log_every_n_steps`` steps
    ``train/rmse_mv``     RMSE of the epoch in mV, with dropout; also ``train/mae_mv``, ``train/max_error_mv``
    ``train/left_out``    batches of the epoch left out of these three because of a non-finite error
    ``val/rmse_mv``       RMSE of the validation split in mV; also ``val/mae_mv``, ``val/max_error_mv``
    ``test/rmse_mv``      RMSE of the test split in mV; also ``test/mae_mv``, ``test/max_error_mv``
    ===================== ==========================================================================================

    With several processes, the errors cover the steps of all processes, and ``train/loss`` is the mean of their losses.

    Args:
        features: Names of the input columns, in the order of the last axis of ``inputs``.
        network: ``name`` and options of a network, see `build_network`.
        optimizer: ``name`` of a class in ``torch.optim`` and its options; Adam at 1e-3 by default.
        scheduler: ``name`` and options, see `build_scheduler`; none by default.
        rc_pairs: Options of `RCPairs`, whose voltages are additional inputs; none by default. The inputs may already
            contain these voltages after the features, as the rows of a data module do.
        data: What the checkpoint keeps about the training data, see `vestim_pl.data.training_data`; not used here.
        preparation: How the files of the training were prepared, as plain values, see
            `vestim_pl.data.PreparationSettings`. Commands apply it again to other files.

    Raises:
        ConfigurationError: If a name or an option is unknown or out of range.

    Example::

        >>> import torch
        >>> estimator = VoltageEstimator(["SOC", "Current", "Temp"], {"name": "LSTM", "hidden_sizes": [8]})
        >>> _ = estimator.scaler.fit(torch.randn(100, 3), 3.7 + 0.1 * torch.randn(100))
        >>> volts, state = estimator(torch.randn(2, 50, 3))
        >>> volts.shape
        torch.Size([2, 50])

    """

    def __init__(
        self,
        features: Sequence[str],
        network: Mapping[str, Any],
        optimizer: Mapping[str, Any] | None = None,
        scheduler: Mapping[str, Any] | None = None,
        rc_pairs: Mapping[str, Any] | None = None,
        data: Mapping[str, Any] | None = None,
        preparation: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__()
        self.save_hyperparameters(
            {
                "features": list(features),
                "network": _plain(network),
                "optimizer": _plain(optimizer or {"name": "Adam", "lr": 1e-3}),
                "scheduler": _plain(scheduler or {"name": "none"}),
                "rc_pairs": _plain(rc_pairs or {}),
                "data": _plain(data or {}),
                "preparation": _plain(preparation or {}),
            }
        )
        spec = self.hparams["rc_pairs"]
        self.rc_pairs = RCPairs(self.hparams["features"], **spec) if spec else None
        inputs = [*features, *(self.rc_pairs.names if self.rc_pairs else ())]
        self.network = build_network(self.hparams["network"], features=len(inputs))
        self.scaler = StandardScaler(inputs)
        self.train_errors, self.val_errors, self.test_errors = (
            VoltageErrors(leave_out=True),
            VoltageErrors(),
            VoltageErrors(),
        )
        self.train_errors.persistent(True)  # so that a run resumed within an epoch reports the whole epoch
        self._carried: dict[str, State | None] = {}
        self._resumed_lengths: list[int | None] | None = None

    @property
    def interval(self) -> float | None:
        """Seconds between the rows of the training; None for a checkpoint that does not know it."""
        preparation = self.hparams["preparation"]
        interval = preparation.get("interval") if isinstance(preparation, Mapping) else None
        return float(interval) if isinstance(interval, int | float) else None

    def forward(self, inputs: Tensor, state: State | None = None) -> tuple[Tensor, State]:
        """Estimate the terminal voltage; pass the state on to continue with the next chunk.

        Args:
            inputs: ``[B, L, F]`` features in physical units.
            state: State that the previous chunk returned; None to start.

        Returns:
            Terminal voltage ``[B, L]`` in volts, and the state after the last step.

        """
        scaled, pairs, state = self._network_inputs(inputs, state)
        voltage, state = self.network(scaled, state)
        return self.scaler.unscale_target(voltage.float()), (*pairs, *state)

    def zero_state(
        self, batch_size: int, device: torch.device | None = None, dtype: torch.dtype | None = None
    ) -> State:
        """Return the initial state of ``batch_size`` cells."""
        state: State = cast("Network", self.network).zero_state(batch_size, device, dtype)
        if self.rc_pairs is None:
            return state
        return self.rc_pairs.zero_state(batch_size, device, dtype), *state

    def on_train_start(self) -> None:
        lengths = [length_of(config.scheduler.state_dict()) for config in self.trainer.lr_scheduler_configs]
        if self._resumed_lengths not in (None, lengths):  # the schedule is computed anew
            steps = int(self._epoch_steps())
            epoch, expected = steps_expected(self.trainer, steps)
            name = self.hparams["scheduler"]["name"]
            refuse_other_epochs(name, epoch, self.trainer.global_step, expected, steps)

    def training_step(self, batch: SequenceBatch, batch_idx: int) -> Tensor:
        error = self._scaled_error(batch, "train")
        loss = (error.square() * batch.weight).sum() / batch.weight.sum().clamp(min=1.0)
        self.train_errors.update(error * (self.scaler.target_std * MILLIVOLTS), batch.weight)
        trainer = self.trainer
        if (batch_idx + 1) % trainer.log_every_n_steps == 0:  # type: ignore[attr-defined]
            self.log("train/loss", loss.detach(), sync_dist=True)
        return loss

    def on_train_epoch_end(self) -> None:
        self._log_errors("train")

    def on_validation_epoch_start(self) -> None:
        self._carried["val"] = None

    def validation_step(self, batch: SequenceBatch, batch_idx: int) -> None:
        self._evaluate(batch, "val")

    def on_validation_epoch_end(self) -> None:
        self._log_errors("val")

    def on_test_epoch_start(self) -> None:
        self._carried["test"] = None

    def test_step(self, batch: SequenceBatch, batch_idx: int) -> Tensor:
        """Score a batch and return the estimated voltage ``[B, T]`` in volts, for tables and plots."""
        return self._evaluate(batch, "test")

    def on_test_epoch_end(self) -> None:
        self._log_errors("test")

    def on_predict_epoch_start(self) -> None:
        self._carried["predict"] = None

    def predict_step(self, batch: SequenceBatch, batch_idx: int) -> Tensor:
        """Estimate the terminal voltage ``[B, L]`` in volts."""
        volts, state = self(batch.inputs, resume_state(self._carried.get("predict"), batch.fresh))
        self._carried["predict"] = state
        return volts

    def configure_optimizers(self) -> OptimizerLRScheduler:
        options = dict(self.hparams["optimizer"])
        optimizer = getattr(torch.optim, options.pop("name"))(self.parameters(), **options)
        return build_scheduler(
            optimizer, self.hparams["scheduler"], lambda: self.trainer.estimated_stepping_batches, self._epoch_steps
        )

    def configure_gradient_clipping(
        self,
        optimizer: Optimizer,
        gradient_clip_val: int | float | None = None,
        gradient_clip_algorithm: str | None = None,
    ) -> None:
        trainer = self.trainer
        if gradient_clip_val and not is_sharded(trainer) and not is_unscaled_in_step(trainer, optimizer):
            if isinstance(self.network, Ensemble):  # each member is clipped on its own
                clip_gradients(self.network, gradient_clip_val, gradient_clip_algorithm or "norm")
                return
            norm = gradient_norm_before(trainer)  # a guard may have measured it already
            if norm is not None and math.isfinite(norm) and gradient_clip_algorithm in (None, "norm"):
                parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
                gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
                scale_to_limit(gradients, norm, gradient_clip_val)
                return
            if clip_under_mixed_precision(trainer, optimizer, gradient_clip_val, gradient_clip_algorithm):
                return
        super().configure_gradient_clipping(optimizer, gradient_clip_val, gradient_clip_algorithm)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        carried = self._carried.get("train")  # every step replaces these tensors, so no copy is needed
        checkpoint["carried_state"] = None if carried is None else list(carried)

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        carried = checkpoint.get("carried_state")
        self._carried["train"] = None if carried is None else tuple(carried)
        self._resumed_lengths = [length_of(state) for state in checkpoint.get("lr_schedulers", [])]

    def _epoch_steps(self) -> float:
        """Compute the optimizer steps per epoch; infinite if the trainer does not know, as with ``max_epochs=-1``."""
        _ = self.trainer.estimated_stepping_batches  # loads the data whose batches are counted
        batches = self.trainer.num_training_batches
        return math.ceil(batches / self.trainer.accumulate_grad_batches) if math.isfinite(batches) else batches

    def _network_inputs(self, inputs: Tensor, state: State | None) -> tuple[Tensor, State, State | None]:
        """Return the scaled inputs of the network, the new state of the RC pairs, and the network's own state."""
        if self.rc_pairs is None:
            return self.scaler.scale_inputs(inputs), (), state
        before = self.rc_pairs.zero_state(inputs.shape[0], inputs.device, inputs.dtype) if state is None else state[0]
        inputs, pairs = self.rc_pairs(inputs, before)
        return self.scaler.scale_inputs(inputs), (pairs,), None if state is None else state[1:]

    def _scaled_error(self, batch: SequenceBatch, split: str) -> Tensor:
        """Return estimated minus measured voltage ``[B, T]`` in scaled units, and keep a stream's state."""
        steps = batch.target.shape[1]
        windows = steps < batch.inputs.shape[1]
        # For windows, a state of zeros would double the work of a Transformer.
        state = None if windows else resume_state(self._carried.get(split), batch.fresh)
        scaled, pairs, state = self._network_inputs(batch.inputs, state)
        voltage, state = self.network(scaled, state, steps)
        self._carried[split] = None if windows else tuple(tensor.detach() for tensor in (*pairs, *state))
        return voltage.float() - self.scaler.scale_target(batch.target)

    def _evaluate(self, batch: SequenceBatch, split: str) -> Tensor:
        error = self._scaled_error(batch, split) * self.scaler.target_std
        self._errors(split).update(error * MILLIVOLTS, batch.weight)
        return batch.target + error

    def _log_errors(self, split: str) -> None:
        errors = self._errors(split)
        for name, value in errors.compute().items():  # torchmetrics adds up the sums of all ranks
            log_agreed(self, {f"{split}/{name}": value}, prog_bar=(split, name) == ("val", "rmse_mv"))
        errors.reset()

    def _errors(self, split: str) -> VoltageErrors:
        return {"train": self.train_errors, "val": self.val_errors, "test": self.test_errors}[split]


def _plain(value: Any) -> Any:
    """Copy into plain dictionaries, lists and numbers, so that a checkpoint contains nothing to unpickle."""
    if isinstance(value, Mapping):
        return {str(key): _plain(entry) for key, entry in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [_plain(entry) for entry in value]
    return value
