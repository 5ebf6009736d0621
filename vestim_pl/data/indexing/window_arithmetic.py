"""Index arithmetic of windows: position, rank and batch of each window."""

import numpy as np
from numpy.typing import NDArray

__all__ = ["batch_bounds", "count_windows", "epoch_order", "window_starts"]


def count_windows(lengths: NDArray[np.int64], lookback: int, stride: int = 1, horizon: int = 0) -> NDArray[np.int64]:
    """Count the windows in each recording.

    A window has ``lookback`` rows, and the row ``horizon`` rows after its last one must be in the recording too.

    Args:
        lengths: ``[R]`` rows of each recording.
        lookback: Rows in a window.
        stride: Rows from the start of one window to the next.
        horizon: Rows from the last row of a window to the estimated one.

    Example::

        >>> count_windows(np.array([10, 5, 3]), lookback=4, stride=2, horizon=1)
        array([3, 1, 0])

    """
    return np.maximum((np.asarray(lengths) - lookback - horizon) // stride + 1, 0)


def window_starts(
    windows: NDArray[np.integer], borders: NDArray[np.int64], firsts: NDArray[np.int64], stride: int = 1
) -> NDArray[np.int64]:
    """Return the first row of each window.

    Args:
        windows: Numbers of windows, counted over all recordings.
        borders: ``[R + 1]`` or ``[R]`` first row of each recording.
        firsts: ``[R + 1]`` number of the first window of each recording, then the number of all windows.
        stride: Rows from the start of one window to the next.

    Example::

        >>> borders, firsts = np.array([0, 10, 15]), np.array([0, 3, 4])
        >>> window_starts(np.array([0, 2, 3]), borders, firsts, stride=2)
        array([ 0,  4, 10])

    """
    recording = np.searchsorted(firsts, windows, side="right") - 1
    return borders[recording] + (windows - firsts[recording]) * stride


def batch_bounds(items: int, batch_size: int, rank: int = 0, world_size: int = 1) -> NDArray[np.int64]:
    """Return the bounds of one rank's batches, the same number on every rank.

    Rank r has the items r, r + world_size, ... of the epoch's order. All ranks must take the same number of steps, or
    they wait for each other without end. If a rank's last batch would be empty, it splits the one before.

    Args:
        items: Items of all ranks.
        batch_size: Items in a batch of one rank.
        rank: This rank.
        world_size: Number of ranks.

    Returns:
        ``[batches + 1]`` bounds into the rank's own items; batch j is ``bounds[j]`` to ``bounds[j + 1] - 1``. Only with
        a batch size of 1 can the last batch stay empty; the caller then repeats an item.

    Example::

        >>> batch_bounds(10, 4), batch_bounds(9, 2, rank=1, world_size=2)
        (array([ 0,  4,  8, 10]), array([0, 2, 3, 4]))

    """
    own = len(range(rank, items, world_size))
    batches = -(-items // (world_size * batch_size))
    bounds = np.minimum(np.arange(batches + 1, dtype=np.int64) * batch_size, own)
    if batches > 1 and bounds[-1] == bounds[-2]:
        bounds[-2] = (bounds[-3] + bounds[-1] + 1) // 2
    return bounds


def epoch_order(items: int, seed: int, epoch: int) -> NDArray[np.integer]:
    """Return the order of all items in an epoch, the same on every rank and machine.

    It takes 4 bytes an item; a list of Python integers would take 36.

    Args:
        items: Number of items.
        seed: Seed of the run.
        epoch: Epoch.

    Example::

        >>> sorted(epoch_order(5, seed=0, epoch=3).tolist())
        [0, 1, 2, 3, 4]

    """
    order: NDArray[np.integer] = np.arange(items, dtype=np.int32 if items <= np.iinfo(np.int32).max else np.int64)
    np.random.default_rng((seed, epoch)).shuffle(order)
    return order
