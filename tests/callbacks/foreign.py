"""Small LightningModules and data that do not know vestim_pl, as in another project."""

import copy
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from tests.which_lightning import Callback, DDPStrategy, LightningModule, Trainer
from vestim_pl.lightning_support.events import Event


def leaky_sequences(count: int, length: int, seed: int) -> tuple[Tensor, Tensor]:
    """Random inputs ``[count, length, 2]`` and their leaky sum ``[count, length]``."""
    generator = torch.Generator().manual_seed(seed)
    inputs = torch.randn(count, length, 2, generator=generator)
    target, state = torch.zeros(count, length), torch.zeros(count)
    for step in range(length):
        state = 0.6 * state + 0.4 * (inputs[:, step, 0] - 0.5 * inputs[:, step, 1])
        target[:, step] = state
    return inputs, target


class ResumableLoader:
    """Batches in fixed order that resume where they stopped; a stateful loader of another project."""

    def __init__(self, tensors: tuple[Tensor, ...], batch_size: int) -> None:
        self.tensors, self.batch_size, self.position = tensors, batch_size, 0

    def __len__(self) -> int:
        return len(self.tensors[0]) // self.batch_size

    def __iter__(self) -> Iterator[list[Tensor]]:
        self.position %= len(self)  # a loop that knows the length does not exhaust the iterator
        while self.position < len(self):
            start = self.position * self.batch_size
            self.position += 1
            yield [tensor[start : start + self.batch_size].clone() for tensor in self.tensors]

    def state_dict(self) -> dict[str, Any]:
        return {"position": self.position}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.position = state_dict["position"]


class ForeignRecurrent(LightningModule):
    """Elman network in plain operations, so that it runs in every precision on the CPU; logs ``val_rmse``."""

    def __init__(self, hidden: int = 8, lr: float = 0.02, weight_decay: float = 0.1, carry: bool = False) -> None:
        super().__init__()
        self.hidden, self.lr, self.weight_decay, self.carry = hidden, lr, weight_decay, carry
        self.cell = nn.Linear(2 + hidden, hidden)
        self.head = nn.Linear(hidden, 1)
        self.carried: Tensor | None = None
        self.losses: list[float] = []

    def forward(self, inputs: Tensor, state: Tensor | None = None) -> tuple[Tensor, Tensor]:
        if state is None:
            state = torch.zeros(inputs.shape[0], self.hidden, device=inputs.device)
        outputs = []
        for step in range(inputs.shape[1]):
            state = torch.tanh(self.cell(torch.cat([inputs[:, step], state.to(inputs.dtype)], dim=1)))
            outputs.append(self.head(state))
        return torch.cat(outputs, dim=1), state

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        state = self.carried if self.carry and batch_idx > 0 else None
        outputs, state = self(batch[0], state)
        self.carried = state.detach() if self.carry else None
        loss = (outputs.float() - batch[1]).square().mean()
        self.losses.append(loss.item())
        return loss

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        outputs, _ = self(batch[0])
        self.log("val_rmse", (outputs.float() - batch[1]).square().mean().sqrt())

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["carried"] = self.carried

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self.carried = checkpoint.get("carried")

    def configure_optimizers(self) -> Any:
        return torch.optim.AdamW(self.parameters(), lr=self.lr, weight_decay=self.weight_decay)

    def train_dataloader(self) -> ResumableLoader:
        return ResumableLoader(_chunks(*leaky_sequences(16, 96, seed=1), 8), batch_size=16)

    def val_dataloader(self) -> DataLoader:
        return DataLoader(TensorDataset(*leaky_sequences(16, 24, seed=2)), batch_size=16)


def _chunks(inputs: Tensor, target: Tensor, length: int) -> tuple[Tensor, Tensor]:
    """Chunks of every lane one after another, so that a batch of 16 holds the same chunk of the 16 lanes."""
    lanes, steps = target.shape
    x = inputs.reshape(lanes, steps // length, length, 2).transpose(0, 1).reshape(-1, length, 2)
    y = target.reshape(lanes, steps // length, length).transpose(0, 1).reshape(-1, length)
    return x.contiguous(), y.contiguous()


class Recorder(Callback):
    """Keeps the events, and a copy of weights, optimizer state and scheduler after every batch."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.weights: list[list[Tensor]] = []
        self.moments: list[Any] = []
        self.rates: list[float] = []
        self.steps: list[int] = []

    def on_event(self, trainer: Trainer, event: Event) -> None:
        self.events.append(event)

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *args: Any) -> None:
        self.weights.append([p.detach().clone() for p in pl_module.parameters()])
        self.moments.append([copy.deepcopy(o.state_dict()["state"]) for o in trainer.optimizers])
        self.rates.append(trainer.optimizers[0].param_groups[0]["lr"])
        self.steps.append(trainer.global_step)

    def of(self, kind: str) -> list[Event]:
        return [event for event in self.events if event.kind == kind]


def fit(
    module: LightningModule, callbacks: list[Callback], ckpt_path: Any = None, datamodule: Any = None, **options: Any
) -> Trainer:
    """Fit on CPU, quietly, without a logger and, unless asked for, without checkpoints."""
    defaults: dict[str, Any] = {
        "accelerator": "cpu",
        "devices": 1,
        "logger": False,
        "enable_checkpointing": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
        "num_sanity_val_steps": 0,
        "limit_val_batches": 0,
        "max_epochs": 1,
    }
    trainer = Trainer(callbacks=callbacks, **(defaults | options))
    trainer.fit(module, datamodule=datamodule, ckpt_path=ckpt_path)
    return trainer


def two_processes() -> DDPStrategy:
    """Strategy of two processes that fails after 20 s if one waits for the other in vain."""
    return DDPStrategy(start_method="spawn", process_group_backend="gloo", timeout=timedelta(seconds=20))


def same(left: Any, right: Any) -> bool:
    """Bitwise equality of nested containers of tensors and numbers."""
    if isinstance(left, Tensor):
        return torch.equal(left, right)
    if isinstance(left, dict):
        return left.keys() == right.keys() and all(same(left[key], right[key]) for key in left)
    if isinstance(left, list | tuple):
        return len(left) == len(right) and all(same(a, b) for a, b in zip(left, right, strict=True))
    return bool(left == right)


class RankReport(Callback):
    """Writes the results of a rank for the parent process to compare."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        recorder = next(c for c in trainer.callbacks if isinstance(c, Recorder))
        torch.save(
            {
                "weights": [p.detach().clone() for p in pl_module.parameters()],
                "reasons": [event.reason for event in recorder.events],
                "kinds": [event.kind for event in recorder.events],
                "history": recorder.weights,
            },
            self.folder / f"rank{trainer.global_rank}.pt",
        )


class DropGradients(Callback):
    """Skips the updates at the given steps, as StepGuard does."""

    def __init__(self, *steps):
        self.steps = steps

    def on_before_optimizer_step(self, trainer, pl_module, optimizer):
        if trainer.global_step in self.steps:
            for parameter in pl_module.parameters():
                parameter.grad = None
