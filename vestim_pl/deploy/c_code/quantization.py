"""Round weights to 8 bits, each row of a matrix with its own scale."""

import copy
from collections.abc import Sequence
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

__all__ = ["quantize_rows", "with_rounded_weights"]

Module = TypeVar("Module", bound=nn.Module)

_LARGEST = 127


def quantize_rows(matrix: NDArray[np.float32]) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    """Round a matrix to 8 bits so that the largest weight of each row becomes 127.

    Args:
        matrix: ``[R, C]`` weights.

    Returns:
        ``[R, C]`` integers and ``[R]`` scales, whose product is the rounded matrix.

    Example::

        >>> integers, scales = quantize_rows(np.array([[0.5, -1.0], [0.02, 0.0]], dtype=np.float32))
        >>> integers.tolist(), [f"{scale * 127:.3f}" for scale in scales]
        ([[64, -127], [127, 0]], ['1.000', '0.020'])

    """
    largest = np.abs(matrix).max(axis=1)
    scales = np.where(largest > 0, largest / np.float32(_LARGEST), np.float32(1)).astype(np.float32)
    integers = np.clip(np.rint(matrix / scales[:, None]), -_LARGEST, _LARGEST).astype(np.int8)
    return integers, scales


@torch.no_grad()
def with_rounded_weights(module: Module) -> Module:
    """Copy a module and round every matrix that C code stores in 8 bits: those of more than one row.

    The last layer, which has one row, stays exact: it would add its rounding directly to the voltage.

    Args:
        module: Any module; its ``nn.LSTM``, ``nn.GRU`` and ``nn.Linear`` are rounded.

    Example::

        >>> layer = nn.Linear(2, 2).requires_grad_(False)
        >>> _ = layer.weight.copy_(torch.tensor([[0.5, -1.0], [0.02, 0.0]]))
        >>> with_rounded_weights(layer).weight[0]
        tensor([ 0.5039, -1.0000])

    """
    rounded = copy.deepcopy(module)
    for part in rounded.modules():
        if isinstance(part, nn.LSTM | nn.GRU):
            matrices: Sequence[Tensor] = part.all_weights[0][:2]
        else:
            matrices = [part.weight] if isinstance(part, nn.Linear) and part.out_features > 1 else []
        for matrix in matrices:
            integers, scales = quantize_rows(matrix.cpu().numpy())
            matrix.copy_(torch.from_numpy(integers * scales[:, None]))
    return rounded
