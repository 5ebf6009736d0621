"""What an optimizer step is computed from, recorded cheaply until the step proves to be good."""

from collections.abc import Iterator
from typing import Any

from lightning.pytorch import LightningModule, Trainer
from torch import Tensor, nn
from torch.optim import Optimizer

from vestim_pl.callbacks.crash_bundle.class_import import class_path
from vestim_pl.callbacks.crash_bundle.plain_data import to_plain
from vestim_pl.functional.finiteness import all_finite
from vestim_pl.lightning_support.lightning_classes import overrides_hook
from vestim_pl.lightning_support.module_state import copy_tensors, save_extras
from vestim_pl.lightning_support.random_state import plain_random_states, raw_random_states
from vestim_pl.lightning_support.step_finiteness import step_signals, total_norm
from vestim_pl.lightning_support.step_rerun import StepInputs
from vestim_pl.lightning_support.tensors import BufferCopy, TensorCopies, named_tensors

__all__ = ["PreStepCopy", "StepWindow", "load_optimizer_state"]


class StepWindow:
    """Batches, random states, buffers, weights, moments and gradients of one accumulation window.

    It keeps references to what the step leaves alone. It copies what the step overwrites, on the same device: buffers,
    the module's extra state (such as a carried recurrent state), parameters and optimizer state.
    """

    def __init__(self, module: LightningModule, optimizer: Optimizer) -> None:
        self._module = module
        self._names = {parameter: name for name, parameter in module.named_parameters()}
        self._buffers = BufferCopy(module)
        self._has_extras = overrides_hook(module, "on_save_checkpoint")
        self.parameters = list(self._names)
        self.copy = PreStepCopy(module, optimizer)
        extras = named_tensors(_extras(module)) if self._has_extras else []
        self._finite_buffers = {name for name, buffer in module.named_buffers() if all_finite([buffer])}
        self._nonfinite_extras = {name for name, tensor in extras if not all_finite([tensor])}
        self.clear()

    def clear(self) -> None:
        self.batches: list[Any] = []
        self.indices: list[int] = []
        self.losses: list[Tensor] = []
        self.gradients: dict[str, Tensor] = {}
        self._signals: Tensor | None = None
        self.read: list[float] = []
        self.loss_scale: float | None = None
        self.rerun: dict[str, Any] = {}
        self.copied = False
        self.updating = False  # from on_before_optimizer_step on
        self._random: list[tuple[Any, ...]] = []

    def start_batch(self, batch: Any, index: int) -> None:
        """Record a batch before its forward pass."""
        if not self.batches:
            self._buffers.save()
            self.extras = _extras(self._module) if self._has_extras else {}
        self.batches.append(batch)
        self.indices.append(index)
        self._random.append(raw_random_states())

    def drop_batch(self) -> None:
        """Forget the latest batch, which the module's ``on_train_batch_start`` has skipped."""
        for recorded in (self.batches, self.indices, self._random):
            if recorded:
                recorded.pop()

    @property
    def buffers(self) -> dict[str, Tensor]:
        """Buffers by name, from before the first batch."""
        return self._buffers.named()

    def carried(self) -> list[tuple[str, str, Tensor]]:
        """Kind, name and tensor of the buffers and extra state from before the first batch.

        Without those that were non-finite when training began, such as an attention mask of -inf or a best score, and
        without buffers that were created later.
        """
        buffers = [("buffer", name, tensor) for name, tensor in self.buffers.items() if name in self._finite_buffers]
        extras = [(name, tensor) for name, tensor in named_tensors(self.extras) if name not in self._nonfinite_extras]
        return buffers + [("carried state", name, tensor) for name, tensor in extras]

    def before_update(self) -> None:
        self.copy_state()
        self.gradients = {name: p.grad for p, name in self._names.items() if p.grad is not None}
        self.updating = True

    def measure(self) -> Tensor:
        """Loss and gradient norm as a tensor on their device, measured once a window and without a host sync."""
        if self._signals is None:
            dense = [grad.coalesce().values() if grad.is_sparse else grad for grad in self.gradients.values()]
            self._signals = step_signals(self.losses, total_norm(dense))
        return self._signals

    def copy_state(self) -> None:
        """Copy weights and moments, once a window."""
        if not self.copied:
            self.copy.save()
            self.copied = True

    def random_states(self) -> list[dict[str, Any]]:
        """Random states before each batch, in plain types."""
        return [plain_random_states(raw) for raw in self._random]

    def inputs(self, trainer: Trainer) -> StepInputs:
        return StepInputs(
            batches=self.batches,
            indices=self.indices,
            random=self.random_states(),
            precision=str(trainer.precision),
            loss_scale=self.loss_scale,
            divisor=trainer.accumulate_grad_batches,
        )


class PreStepCopy:
    """Copy of parameters and optimizer state from before the last update, in memory that is allocated once.

    A bad update overwrites the weights that it started from. The copy doubles the memory of both, and copies both at
    every step.
    """

    def __init__(self, module: nn.Module, optimizer: Optimizer) -> None:
        self._names: dict[Tensor, str] = {parameter: name for name, parameter in module.named_parameters()}
        self._optimizer = optimizer
        self._copies = TensorCopies()
        self._state: list[tuple[Tensor, dict[str, Any]]] = []  # of the optimizer; its tensors are in the copies
        self._groups: list[dict[str, Any]] = []

    def save(self) -> None:
        self._state = [(parameter, state.copy()) for parameter, state in self._optimizer.state.items()]
        values = [value for _, state in self._state for value in state.values() if isinstance(value, Tensor)]
        self._copies.save([*self._names, *values])
        self._groups = [group.copy() for group in self._optimizer.param_groups]

    def parameters(self) -> dict[str, Tensor]:
        return dict(zip(self._names.values(), self._copies.tensors, strict=False))

    def moments(self) -> list[tuple[str, str, Tensor]]:
        """Parameter, key and copied tensor of the optimizer state."""
        return [entry for entry in self._entries() if isinstance(entry[2], Tensor)]

    def optimizer_state(self) -> dict[str, Any]:
        """Class, groups and copied state of the optimizer, by parameter name and in plain types."""
        state: dict[str, dict[str, Any]] = {}
        for name, key, value in self._entries():
            state.setdefault(name, {})[key] = value
        owned = [[self._names.get(p, "") for p in group["params"]] for group in self._optimizer.param_groups]
        groups = [to_plain(group | {"params": names}) for group, names in zip(self._groups, owned, strict=True)]
        return {"class": class_path(type(self._optimizer)), "groups": groups, "state": to_plain(state)}

    def _entries(self) -> Iterator[tuple[str, str, Any]]:
        """Parameter, key and value of the optimizer state, for the module's own parameters."""
        copies = iter(self._copies.tensors[len(self._names) :])
        for parameter, state in self._state:
            for key, value in state.items():
                copied = next(copies) if isinstance(value, Tensor) else value
                if parameter in self._names:
                    yield self._names[parameter], key, copied


def load_optimizer_state(optimizer: Optimizer, module: nn.Module, state: dict[str, dict[str, Any]]) -> None:
    """Load optimizer state by parameter name, each tensor with its own dtype, which torch's loader would change."""
    for name, parameter in module.named_parameters():
        if name in state:
            optimizer.state[parameter] = {
                key: value.clone() if isinstance(value, Tensor) else value for key, value in state[name].items()
            }


def _extras(module: LightningModule) -> dict[str, Any]:
    """What ``on_save_checkpoint`` adds to an almost empty checkpoint, which is faster than to a complete one."""
    checkpoint: dict[str, Any] = {"state_dict": {}}
    try:
        module.on_save_checkpoint(checkpoint)
    except (KeyError, AttributeError):  # the hook needs the entries of a real checkpoint
        return save_extras(module)
    return {key: copy_tensors(value) for key, value in checkpoint.items() if key != "state_dict"}
