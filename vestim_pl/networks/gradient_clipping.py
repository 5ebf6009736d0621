"""Clipping the gradient of each network of an ensemble on its own."""

import torch
from torch import Tensor, nn

from vestim_pl.networks.ensemble import Ensemble

__all__ = ["clip_gradients"]


def clip_gradients(network: nn.Module, threshold: float | None, algorithm: str = "norm") -> Tensor:
    """Clip as if every network of an ensemble were alone; a single network is clipped as ever.

    Clipped together, one whose gradient is large takes the step from all others, and early in training, when all are
    large, the total is in units in which the threshold seldom engages: each has its part of the mean of their losses,
    and so its part of a gradient. Here a threshold means the same with one network and with twenty.

    Args:
        network: The network, or the ensemble.
        threshold: Largest norm, or largest value, of the gradient of a network that is trained alone; None only
            measures.
        algorithm: ``norm`` or ``value``.

    Returns:
        Norm, or largest value, before clipping, of the network whose is the largest, in units of one alone; on its
        device, not read. NaN if any is; 0 without a gradient.

    Example::

        >>> layer = nn.Linear(1, 1, bias=False)
        >>> layer.weight.grad = torch.tensor([[5.0]])
        >>> clip_gradients(layer, 2.0), round(layer.weight.grad.item(), 3)
        (tensor(5.), 2.0)

    """
    networks = list(network.members) if isinstance(network, Ensemble) else [network]
    sizes = []
    for own in networks:
        gradients = [parameter.grad for parameter in own.parameters() if parameter.grad is not None]
        if not gradients:
            continue
        if algorithm == "value":
            size = torch.stack([gradient.abs().max() for gradient in gradients]).max()
            if threshold:
                nn.utils.clip_grad_value_(own.parameters(), threshold / len(networks))
        else:
            size = nn.utils.get_total_norm(gradients)
            if threshold:
                nn.utils.clip_grads_with_norm_(own.parameters(), threshold / len(networks), size)
        sizes.append(size * len(networks))
    return torch.stack(sizes).max() if sizes else torch.zeros(())
