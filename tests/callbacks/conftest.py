"""A LightningModule that does not know vestim_pl, and a trainer that writes only under ``tmp_path``."""

import csv
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Literal

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from tests.which_lightning import Callback, Checkpoint, CSVLogger, LightningModule, MixedPrecision, Trainer

BATCHES = 5


class ForeignModule(LightningModule):
    """An ordinary regression; ``loss_hook`` lets a test change the loss of a chosen batch."""

    def __init__(
        self,
        lr: float = 0.05,
        dropout: float = 0.0,
        optimizer: Callable[..., torch.optim.Optimizer] = torch.optim.Adam,
        scheduler: Callable[[torch.optim.Optimizer], Any] | None = None,
        loss_hook: Callable[["ForeignModule", Tensor, int], Tensor | None] | None = None,
    ) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Dropout(dropout), nn.Linear(8, 1))
        self.lr, self.optimizer, self.scheduler, self.loss_hook = lr, optimizer, scheduler, loss_hook

    def _loss(self, batch: Any) -> Tensor:
        inputs, target = batch
        return nn.functional.mse_loss(self.net(inputs).squeeze(-1).float(), target)

    def training_step(self, batch: Any, batch_idx: int) -> Tensor | None:
        loss = self._loss(batch)
        if self.loss_hook is not None:
            loss = self.loss_hook(self, loss, batch_idx)
        if loss is not None:
            self.log("train_loss", loss, on_step=False, on_epoch=True)
        return loss

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self.log("val_loss", self._loss(batch))

    def test_step(self, batch: Any, batch_idx: int) -> None:
        self.log("test_loss", self._loss(batch))

    def configure_optimizers(self) -> Any:
        optimizer = self.optimizer(self.parameters(), lr=self.lr)
        return (
            optimizer if self.scheduler is None else {"optimizer": optimizer, "lr_scheduler": self.scheduler(optimizer)}
        )


class TwoOptimizers(ForeignModule):
    """Manual optimization with an optimizer for each half of the network."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.automatic_optimization = False

    def training_step(self, batch: Any, batch_idx: int) -> None:
        for optimizer in self.optimizers():
            loss = self._loss(batch)
            optimizer.zero_grad()
            self.manual_backward(loss)
            optimizer.step()
        self.log("train_loss", loss, on_step=False, on_epoch=True)

    def configure_optimizers(self) -> Any:
        halves = [self.net[0].parameters(), self.net[3].parameters()]
        return [self.optimizer(half, lr=self.lr) for half in halves], []


def loader(batches: int = BATCHES, batch_size: int = 8, shuffle: bool = False) -> DataLoader:
    """The same random regression data at every call."""
    generator = torch.Generator().manual_seed(1)
    inputs = torch.randn(batches * batch_size, 4, generator=generator)
    target = inputs.sum(-1).sin() + 0.1 * torch.randn(len(inputs), generator=generator)
    return DataLoader(TensorDataset(inputs, target), batch_size=batch_size, shuffle=shuffle)


class StatefulLoader:
    """Fixed batches that resume mid-epoch by Lightning's protocol for stateful loaders."""

    def __init__(self, batches: int = BATCHES) -> None:
        self.batches, self.position = list(loader(batches)), 0

    def __len__(self) -> int:
        return len(self.batches)

    def __iter__(self) -> Any:
        self.position %= len(self.batches)
        while self.position < len(self.batches):
            self.position += 1
            yield self.batches[self.position - 1]

    def state_dict(self) -> dict[str, int]:
        return {"position": self.position}

    def load_state_dict(self, state_dict: dict[str, int]) -> None:
        self.position = state_dict["position"]


def scaled_fp16(init_scale: float = 2.0**10) -> MixedPrecision:
    """Mixed precision with a gradient scaler, on CPU."""
    return MixedPrecision("16-mixed", "cpu", torch.amp.GradScaler("cpu", init_scale=init_scale))


def same_weights(first: LightningModule, second: LightningModule) -> bool:
    """Whether both modules hold bitwise the same weights."""
    return all(torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters(), strict=True))


def logged(logger: CSVLogger, key: str) -> dict[int, float]:
    """Values of one key that a CSV logger wrote, by step."""
    with Path(logger.log_dir, "metrics.csv").open() as file:
        return {int(row["step"]): float(row[key]) for row in csv.DictReader(file) if row.get(key)}


@pytest.fixture
def foreign() -> SimpleNamespace:
    """Foreign modules and helpers of the callback tests."""
    return SimpleNamespace(
        Module=ForeignModule,
        TwoOptimizers=TwoOptimizers,
        loader=loader,
        StatefulLoader=StatefulLoader,
        scaled_fp16=scaled_fp16,
        same_weights=same_weights,
        logged=logged,
        BATCHES=BATCHES,
    )


@pytest.fixture
def fit(tmp_path: Path) -> Callable[..., Trainer]:
    """Fit a module with callbacks; keyword arguments go to the trainer, ``resume`` and ``train`` to ``fit``."""

    def run(
        module: LightningModule,
        callbacks: Sequence[Callback] = (),
        *,
        resume: str | Path | None = None,
        train: DataLoader | Literal["its own"] | None = None,
        val: DataLoader | None = None,
        seed: int = 0,
        **options: Any,
    ) -> Trainer:
        torch.manual_seed(seed)
        defaults = {
            "accelerator": "cpu", "max_epochs": 2, "logger": False, "enable_checkpointing": False,
            "enable_progress_bar": False, "enable_model_summary": False, "log_every_n_steps": 1,
            "num_sanity_val_steps": 0, "default_root_dir": tmp_path,
        }  # fmt: skip
        if any(isinstance(callback, Checkpoint) for callback in callbacks):
            defaults["enable_checkpointing"] = True
        trainer = Trainer(callbacks=list(callbacks), **(defaults | options))
        train = loader() if train is None else None if train == "its own" else train
        trainer.fit(module, train, loader(2) if val is None else val, ckpt_path=resume)
        return trainer

    return run
