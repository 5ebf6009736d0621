"""Split-conformal prediction: the quantile of calibration errors that covers new ones."""

import math

import torch
from torch import Tensor

__all__ = ["conformal_quantile"]


def conformal_quantile(scores: Tensor, groups: Tensor, coverage: float) -> float:
    r"""Return the half width that covers an error of a new group with a given probability.

    Errors that follow one another in a recording are alike, so they are not exchangeable one by one; groups of them
    are, at best. Each of the K groups has the same weight, shared by its errors. One more group, the new one, counts as
    infinite:

    .. math:: \inf\{q : \sum_k \frac{1}{K + 1} \frac{|\{i : s_{ki} \le q\}|}{n_k} \ge \text{coverage}\}

    With one error a group this is the usual quantile of rank :math:`\lceil (n + 1)\,\text{coverage} \rceil`.
    Source: Lei et al. 2018, section 2.2; with groups Lee, Barber & Willett 2023, "Distribution-free inference with
    hierarchical data", section 3.

    Args:
        scores: ``[n]`` absolute errors.
        groups: ``[n]`` int64 number of each error's group, from 0; every group has an error.
        coverage: Wanted probability, between 0 and 1.

    Returns:
        The half width in the unit of the scores; infinite where the groups are too few for the coverage.

    Example::

        >>> scores = torch.arange(1.0, 20.0)
        >>> conformal_quantile(scores, torch.arange(19), coverage=0.9)  # rank 18 of 19
        18.0
        >>> conformal_quantile(scores[:8], torch.arange(8), coverage=0.9)  # 9 are the fewest
        inf

    """
    if not len(scores):
        return math.inf
    sizes = torch.bincount(groups).double()
    order = torch.argsort(scores)
    weights = 1 / (sizes[groups[order]] * (len(sizes) + 1))
    reached = torch.cumsum(weights, 0) >= coverage - 1e-9  # the sum is rounded
    return float(scores[order[int(reached.int().argmax())]]) if bool(reached[-1]) else math.inf
