"""Settings of training on windows."""

from dataclasses import dataclass, field
from typing import Literal

from vestim_pl.data.evaluation_sampling import EvaluationSampling
from vestim_pl.settings.checks import check_integers

__all__ = ["WindowSampling"]


@dataclass(frozen=True)
class WindowSampling(EvaluationSampling):
    """Sequence to one: each window of ``lookback`` rows estimates one voltage, from the zero state.

    `EvaluationSampling` describes validation and test.

    Attributes:
        lookback: Rows in a window.
        stride: Rows from the start of one training window to the next.
        horizon: Rows from the last row of a window to the estimated one: 0 is the same row, 1 the next, as in VEstim.
        batch_size: Windows in a batch, on each rank.
        burn_in: Rows at the start of each recording that a streamed evaluation does not score; None leaves out the
            rows at which no window ends, so both evaluations score the same rows.
        orders: Orders of the data side by side in a batch, one for each network of an ensemble; the batch grows by
            this factor.

    Raises:
        ConfigurationError: If a number is out of range, or ``evaluation`` is unknown.

    Example::

        >>> WindowSampling(lookback=400, horizon=1).minimum_rows
        401

    """

    lookback: int = 200
    stride: int = 1
    horizon: int = 0
    batch_size: int = 256
    evaluation: Literal["windows", "streams"] = field(default="windows", kw_only=True)
    burn_in: int | None = None
    orders: int = field(default=1, kw_only=True)

    def __post_init__(self) -> None:
        super().__post_init__()
        check_integers(self, "sampling", lookback=1, stride=1, horizon=0, batch_size=1, orders=1)
        if self.burn_in is not None:
            check_integers(self, "sampling", burn_in=0)

    @property
    def scored_from(self) -> int:
        """First row of a recording that a streamed evaluation scores."""
        return self.lookback - 1 if self.burn_in is None else self.burn_in

    @property
    def minimum_rows(self) -> int:
        """Smallest usable number of rows in a recording."""
        return max(self.lookback, self.scored_from + 1) + self.horizon

    @property
    def minimum_reason(self) -> str:
        """Setting that requires so many rows, for error messages."""
        burn_in = "" if self.burn_in is None else f" with burn_in {self.burn_in}"
        return f"sampling.lookback={self.lookback}{burn_in}" + (f" and horizon {self.horizon}" if self.horizon else "")
