"""Where the rows of a split are collected while its recordings are read: in memory, or in files."""

import math
import os
import tempfile
from pathlib import Path
from typing import BinaryIO, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vestim_pl.files import writing

__all__ = ["FileRows", "MemoryRows", "Rows"]

_GROWTH = 1.3


class Rows(Protocol):
    """Collects rows whose number is not known beforehand, with little more memory than they take."""

    def append(self, inputs: Tensor, target: NDArray[np.float32], time: NDArray[np.float64]) -> None:
        """Add the rows of a recording: ``[n, F]``, ``[n]`` and ``[n]``."""

    def collected(self) -> tuple[Tensor, Tensor, NDArray[np.float64]]:
        """Return all rows: ``[N, F]``, ``[N]`` and ``[N]``."""


class MemoryRows:
    """Rows in memory. Blocks grow in place, so that there are never two copies of all rows.

    Example::

        >>> rows = MemoryRows(features=2)
        >>> rows.append(torch.ones(3, 2), np.zeros(3, np.float32), np.arange(3.0))
        >>> rows.collected()[0].shape
        torch.Size([3, 2])

    """

    def __init__(self, features: int) -> None:
        self._blocks = (_Block((features,), np.float32), _Block((), np.float32), _Block((), np.float64))

    def append(self, inputs: Tensor, target: NDArray[np.float32], time: NDArray[np.float64]) -> None:
        rows: tuple[NDArray[np.floating], ...] = (inputs.numpy(), target, time)
        for block, values in zip(self._blocks, rows, strict=True):
            block.append(values)

    def collected(self) -> tuple[Tensor, Tensor, NDArray[np.float64]]:
        inputs, target, time = (block.finished() for block in self._blocks)
        return torch.from_numpy(inputs), torch.from_numpy(target), time.astype(np.float64, copy=False)


class _Block:
    def __init__(self, shape: tuple[int, ...], dtype: type[np.floating]) -> None:
        self._values = np.empty((0, *shape), dtype=dtype)
        self._rows = 0

    def append(self, values: NDArray[np.floating]) -> None:
        last = self._rows + len(values)
        if last > len(self._values):
            # realloc moves pages instead of copying large blocks
            self._values.resize((max(last, int(_GROWTH * self._rows)), *self._values.shape[1:]), refcheck=False)
        self._values[self._rows : last] = values
        self._rows = last

    def finished(self) -> NDArray[np.floating]:
        self._values.resize((self._rows, *self._values.shape[1:]), refcheck=False)
        return self._values


class FileRows:
    """Rows in files of a folder, written as they come and mapped at the end.

    Args:
        folder: Folder of the files.
        features: Number of features F.

    Raises:
        FileError: From ``append``, if the disk is full.

    """

    def __init__(self, folder: Path, features: int) -> None:
        self._folder = folder
        self._shapes: tuple[tuple[tuple[int, ...], type[np.floating]], ...] = (
            ((features,), np.float32), ((), np.float32), ((), np.float64),
        )  # fmt: skip
        self._files: list[tuple[BinaryIO, Path]] = []
        self._rows = 0
        with writing(folder):
            for _ in self._shapes:
                handle, name = tempfile.mkstemp(dir=folder, suffix=".rows")
                self._files.append((os.fdopen(handle, "wb"), Path(name)))

    def append(self, inputs: Tensor, target: NDArray[np.float32], time: NDArray[np.float64]) -> None:
        blocks = (inputs.numpy(), target, time)
        with writing(self._folder):
            for (file, _), (_, dtype), values in zip(self._files, self._shapes, blocks, strict=True):
                file.write(np.ascontiguousarray(values, dtype=dtype).data)
        self._rows += len(target)

    def collected(self) -> tuple[Tensor, Tensor, NDArray[np.float64]]:
        arrays = []
        for (file, path), (shape, dtype) in zip(self._files, self._shapes, strict=True):
            with writing(self._folder):
                file.close()
            whole = (self._rows, *shape)
            empty = math.prod(whole) == 0  # an empty file cannot be mapped
            arrays.append(np.empty(whole, dtype) if empty else np.memmap(path, dtype=dtype, mode="r+", shape=whole))
        inputs, target, time = arrays
        return torch.from_numpy(inputs), torch.from_numpy(target), time
