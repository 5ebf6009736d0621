"""Several checkpoints in one command, told apart by short names."""

from collections.abc import Mapping, Sequence
from itertools import takewhile
from pathlib import Path

import pandas as pd

from vestim_pl.deploy.model import VoltageModel, load_model
from vestim_pl.errors import ConfigurationError

__all__ = ["load_several", "paths_of", "short_names", "side_by_side"]


def load_several(ckpt_path: str | Sequence[str]) -> dict[str, VoltageModel]:
    """Load the checkpoints of a setting, by short name.

    Args:
        ckpt_path: A path, or a list of paths.

    Raises:
        ConfigurationError: If a file cannot be used, or is named twice.

    """
    paths = paths_of(ckpt_path)
    for path in paths:
        if paths.count(path) > 1:
            raise ConfigurationError(f"ckpt_path: {path} is named twice; name each checkpoint once")
    return {name: load_model(path, setting="ckpt_path") for name, path in zip(short_names(paths), paths, strict=True)}


def paths_of(ckpt_path: str | Sequence[str]) -> list[str]:
    """Return the paths of a setting that holds one or several.

    Raises:
        ConfigurationError: If there is none.

    """
    paths = [ckpt_path] if isinstance(ckpt_path, str) else [str(path) for path in ckpt_path]
    if not paths:
        raise ConfigurationError("ckpt_path: the list is empty; name at least one checkpoint")
    return paths


def short_names(paths: Sequence[str]) -> list[str]:
    """Shorten paths to the parts in which they differ.

    Example::

        >>> short_names(["runs/a/checkpoints/best.ckpt", "runs/b/checkpoints/best.ckpt"])
        ['a', 'b']
        >>> short_names(["runs/a/checkpoints/best.ckpt"]), short_names(["a/best.ckpt", "a/last.ckpt"])
        (['best'], ['best', 'last'])

    """
    if len(paths) == 1:
        return [Path(paths[0]).stem]
    parts = [Path(path).with_suffix("").absolute().parts for path in paths]
    rest = [part[_alike(parts) :] for part in parts]
    ending = _alike([part[::-1] for part in rest])
    names = ["/".join(part[: len(part) - ending]) for part in rest]
    return names if all(names) and len(set(names)) == len(names) else list(paths)


def side_by_side(steps: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """Put the scored steps of several checkpoints into one table; those of one checkpoint stay as they are.

    Args:
        steps: Steps by the name of the checkpoint.

    Returns:
        One after the other, with the names in the first column, ``checkpoint``.

    """
    if len(steps) == 1:
        return next(iter(steps.values()))
    joined = pd.concat(steps, names=["checkpoint"]).reset_index("checkpoint").reset_index(drop=True)
    return joined.astype({"checkpoint": "category"})


def _alike(sequences: Sequence[Sequence[str]]) -> int:
    """Return how many entries all sequences have in common from their beginning."""
    return sum(1 for _ in takewhile(lambda entries: len(set(entries)) == 1, zip(*sequences, strict=False)))
