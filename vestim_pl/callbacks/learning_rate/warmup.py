"""The factor by which a learning rate starts low and grows to its full size."""

import math

__all__ = ["warmup_factor"]


def warmup_factor(updates: int, duration: int, *, shape: str = "linear", start_factor: float = 0.01) -> float:
    r"""Factor on the learning rate of the next update.

    .. math::
        f(t) = s + (1 - s) \, g\left(\min(t / N, 1)\right), \qquad
        g(x) = x \text{ (linear)}, \quad g(x) = \tfrac{1}{2} (1 - \cos \pi x) \text{ (cosine)}

    with :math:`t` updates already made, duration :math:`N` and start factor :math:`s`: the first update uses
    :math:`s`, the first after :math:`N` updates the full rate. The linear shape is that of
    ``torch.optim.lr_scheduler.LinearLR``.

    Args:
        updates: Updates already made.
        duration: Updates until the full rate; 0 for none.
        shape: ``linear`` or ``cosine``.
        start_factor: Factor of the first update, 0 < s <= 1.

    Example::

        >>> [warmup_factor(t, 4, start_factor=0.5) for t in (0, 2, 4, 9)]
        [0.5, 0.75, 1.0, 1.0]

    """
    if updates >= duration:
        return 1.0
    progress = updates / duration
    if shape == "cosine":
        progress = 0.5 * (1 - math.cos(math.pi * progress))
    return start_factor + (1 - start_factor) * progress
