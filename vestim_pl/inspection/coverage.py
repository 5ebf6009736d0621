"""Where validation and test leave the range of the training."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vestim_pl.inspection.inspected_file import COVERED

__all__ = ["Coverage", "Outside", "coverage"]

_UNITS = {"current": "A", "temperature": "degC", "soc": ""}
_MARGIN = 0.01  # of the range of the training
_CELLS = {"temperature": 10.0, "soc": 0.1}  # of the table of temperature and SOC
_WORTH_SAYING = 0.002  # of the rows


@dataclass(frozen=True)
class Outside:
    """Rows of a split that the training has nothing like.

    Attributes:
        split: The split.
        what: Quantity, or several.
        share: Share of its rows.
        text: One sentence with figures.

    """

    split: str
    what: str
    share: float
    text: str


@dataclass(frozen=True)
class Coverage:
    """Ranges of each split, and what of validation and test is outside those of the training.

    Attributes:
        ranges: Lowest and highest value by split and quantity.
        outside: What leaves the training.

    """

    ranges: dict[str, dict[str, tuple[float, float]]]
    outside: list[Outside]


def coverage(samples: Mapping[str, NDArray[np.float32]]) -> Coverage:
    """Compare splits by rows at equal distances.

    Args:
        samples: ``[m, 3]`` current [A], temperature [degC] and SOC by split, ``train`` among them.

    Example::

        >>> train = np.array([[-3.0, 20.0, 0.2], [1.0, 30.0, 0.9]])
        >>> test = np.array([[-6.0, 25.0, 0.5], [-1.0, 25.0, 0.85]])
        >>> [each.text for each in coverage({"train": train, "test": test}).outside][0]
        'test: about 50 % of the rows have a current outside -3 to 1 A of the training (test: -6 to -1 A)'

    """
    ranges = {split: _ranges(rows) for split, rows in samples.items() if len(rows)}
    outside = list[Outside]()
    trained = ranges.get("train", {})
    for split in (split for split in ("val", "test") if split in ranges and trained):
        rows = samples[split]
        for place, quantity in enumerate(COVERED):
            if quantity not in trained or quantity not in ranges[split]:
                continue
            (low, high), values = trained[quantity], rows[:, place]
            margin = _MARGIN * (high - low)
            share = float(np.mean((values < low - margin) | (values > high + margin)))
            if share > _WORTH_SAYING:
                unit = f" {_UNITS[quantity]}" if _UNITS[quantity] else ""
                own = ranges[split][quantity]
                text = (
                    f"{split}: about {_percent(share)} of the rows have a {_name(quantity)} outside {low:.4g} to "
                    f"{high:.4g}{unit} of the training ({split}: {own[0]:.4g} to {own[1]:.4g}{unit})"
                )
                outside.append(Outside(split, quantity, share, text))
        share = _unseen(samples["train"], rows)
        if share > _WORTH_SAYING:
            text = (
                f"{split}: about {_percent(share)} of the rows have a temperature and SOC "
                "that training never has together"
            )
            outside.append(Outside(split, "temperature and SOC", share, text))
    return Coverage(ranges, outside)


def _ranges(rows: NDArray[np.float32]) -> dict[str, tuple[float, float]]:
    known = {name: rows[:, place][np.isfinite(rows[:, place])] for place, name in enumerate(COVERED)}
    return {name: (float(values.min()), float(values.max())) for name, values in known.items() if len(values)}


def _unseen(train: NDArray[np.float32], rows: NDArray[np.float32]) -> float:
    """Share of rows in a cell of temperature and SOC, or beside it, in which the training has no row."""

    def cells(values: NDArray[np.float32]) -> NDArray[np.int64]:
        places = [values[:, COVERED.index(name)] / width for name, width in _CELLS.items()]
        both = np.stack(places, axis=1)
        return np.floor(both[np.isfinite(both).all(axis=1)]).astype(np.int64)

    seen = {tuple(cell) for cell in np.unique(cells(train), axis=0).tolist()}
    near = {(t + i, s + j) for t, s in seen for i in (-1, 0, 1) for j in (-1, 0, 1)}
    own = cells(rows)
    kinds, counts = np.unique(own, axis=0, return_counts=True)
    return sum(int(count) for cell, count in zip(kinds.tolist(), counts, strict=True) if tuple(cell) not in near) / max(
        1, len(own)
    )


def _name(quantity: str) -> str:
    return "SOC" if quantity == "soc" else quantity


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %" if share >= 0.1 else f"{100 * share:.2g} %"
