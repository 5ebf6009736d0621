"""Compile the network with ``torch.compile``, for machines where that is faster."""

import torch

from vestim_pl.errors import ConfigurationError
from vestim_pl.estimator import VoltageEstimator

__all__ = ["compile_network"]


def compile_network(estimator: VoltageEstimator, *, wanted: bool = True) -> None:
    """Compile the estimator's network, for training and evaluation.

    The module keeps its parameters under the same names: checkpoints, export and replay are not affected, and copies
    run uncompiled.

    Args:
        estimator: The estimator, changed in place.
        wanted: The setting ``compile``; nothing is done where it is false.

    Raises:
        ConfigurationError: If nothing can be compiled on this machine, which a tiny function shows.

    """
    if not wanted:
        return
    device = estimator.device
    try:
        torch.compile(torch.sin)(torch.ones(2, device=device))
    except Exception as error:  # the compiler's own classes of errors are private and change
        found = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise ConfigurationError(
            f"compile: true, but torch.compile does not work on this machine ({found}); set compile=false, or install"
            " what it needs (a C++ compiler for the CPU, Triton for CUDA)"
        ) from error
    estimator.network.compile()
