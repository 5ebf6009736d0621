"""Reference loop: VEstim's training as plain PyTorch.

All windows are materialised, ``[windows, lookback, features]``, and a ``DataLoader`` shuffles and collates them one by
one. An ``nn.LSTM`` with VEstim's initialisation reads a window, and a linear layer reads the LSTM's last step. Adam has
a constant learning rate. The loss is read in every step. Subnormal numbers are kept, as in VEstim.

The loop shares no code with the package.
"""

from collections.abc import Iterator, Sequence
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

__all__ = ["ReferenceLoop", "ReferenceNetwork", "materialise_windows", "standardise"]


def standardise(train: Tensor, *others: Tensor) -> tuple[Tensor, ...]:
    """Zero mean and unit variance over the first axis, by the statistics of the first tensor."""
    mean, std = train.mean(0), train.std(0, correction=0)
    return tuple((values - mean) / std for values in (train, *others))


def materialise_windows(
    inputs: Tensor,
    target: Tensor,
    borders: Sequence[int] | np.ndarray,
    lookback: int,
    horizon: int = 1,
    stride: int = 1,
) -> tuple[Tensor, Tensor]:
    """Return all windows as one tensor, and the target voltage of each.

    Args:
        inputs: ``[N, F]`` features of all recordings, one after the other.
        target: ``[N]`` their voltage.
        borders: ``[R + 1]`` first row of each recording.
        lookback: Rows in a window (L).
        horizon: Rows from a window's last row to the estimated one; VEstim's is 1.
        stride: Rows from one window to the next; VEstim's is 1.

    Returns:
        ``[W, L, F]`` windows and ``[W]`` targets.

    """
    windows, targets = [], []
    for first, last in pairwise(borders):
        for start in range(int(first), int(last) - lookback - horizon + 1, stride):
            windows.append(inputs[start : start + lookback])
            targets.append(target[start + lookback - 1 + horizon])
    return torch.stack(windows), torch.stack(targets)


class ReferenceNetwork(nn.Module):
    """Recurrent layers and a linear layer on the last step, initialised as VEstim does.

    Args:
        features: Features of a row (F).
        hidden_sizes: Size of each layer.
        cell: ``LSTM`` or ``GRU``.

    """

    def __init__(self, features: int, hidden_sizes: Sequence[int], cell: str = "LSTM") -> None:
        super().__init__()
        kind = {"LSTM": nn.LSTM, "GRU": nn.GRU}[cell]
        widths = [features, *hidden_sizes]
        self.layers = nn.ModuleList(kind(width, size, batch_first=True) for width, size in pairwise(widths))
        self.head = nn.Linear(widths[-1], 1)
        for name, parameter in self.layers.named_parameters():
            if "weight_ih" in name:
                nn.init.xavier_uniform_(parameter)
            elif "weight_hh" in name:
                nn.init.orthogonal_(parameter)
            else:
                nn.init.zeros_(parameter)
        nn.init.xavier_uniform_(self.head.weight)
        nn.init.constant_(self.head.bias, 0.01)

    def forward(self, inputs: Tensor) -> Tensor:
        """Estimate ``[B, 1]`` from windows ``[B, L, F]``."""
        hidden = inputs
        for layer in self.layers:
            hidden, _ = layer(hidden)
        estimate: Tensor = self.head(hidden[:, -1])
        return estimate


class ReferenceLoop:
    """Training on materialised windows, one step a call.

    Args:
        windows: ``[W, L, F]`` standardised windows.
        target: ``[W]`` standardised voltage.
        hidden_sizes: Size of each layer.
        cell: ``LSTM`` or ``GRU``.
        batch_size: Windows in a batch.
        lr: Adam's constant rate.
        seed: Of initialisation and order.

    """

    def __init__(
        self,
        windows: Tensor,
        target: Tensor,
        hidden_sizes: Sequence[int],
        cell: str = "LSTM",
        batch_size: int = 256,
        lr: float = 1e-3,
        seed: int = 0,
    ) -> None:
        torch.manual_seed(seed)
        self.network = ReferenceNetwork(windows.shape[-1], hidden_sizes, cell)
        self.optimizer = torch.optim.Adam(self.network.parameters(), lr=lr)
        self.criterion = nn.MSELoss()
        dataset = TensorDataset(windows, target.unsqueeze(1))
        self.loader = DataLoader(dataset, batch_size=min(batch_size, len(dataset)), shuffle=True)
        self._batches = self._endless()

    def _endless(self) -> Iterator[list[Tensor]]:
        while True:
            yield from self.loader

    def step(self) -> float:
        """Train on the next batch; returns its loss."""
        inputs, target = next(self._batches)
        self.network.train()
        self.optimizer.zero_grad()
        loss = self.criterion(self.network(inputs), target)
        loss.backward()
        self.optimizer.step()
        return float(loss.item())
