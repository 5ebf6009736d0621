"""Clip the gradient of each member of an ensemble separately."""

import torch
from torch import Tensor, nn

from vestim_pl.networks.ensemble import Ensemble

__all__ = ["clip_gradients"]


def clip_gradients(network: nn.Module, threshold: float | None, algorithm: str = "norm") -> Tensor:
    """Clip each member of an ensemble as if it were trained alone; a single network is clipped as usual.

    If all members were clipped together, one member with a large gradient would shrink the steps of all others. The
    loss is the mean over the members, so each member's gradient is also smaller by their number, and the threshold
    would seldom engage. Here a threshold means the same for one network and for twenty.

    Args:
        network: A network or an ensemble.
        threshold: Largest norm, or largest value, for a network trained alone; None only measures.
        algorithm: ``norm`` or ``value``.

    Returns:
        Norm, or largest value, before clipping, of the member with the largest gradient, scaled as if trained alone. It
        is a tensor on the device, without a host sync; NaN if any gradient is NaN, and 0 without gradients.

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
