"""Settings of training on windows."""

from dataclasses import dataclass, field
from typing import Literal

from vestim_pl.data.evaluation_sampling import EvaluationSampling
from vestim_pl.settings.checks import check_integers

__all__ = ["WindowSampling"]


@dataclass(frozen=True)
class WindowSampling(EvaluationSampling):
    """Sequence to one: every window of ``lookback`` rows estimates one voltage, starting from the zero state.

    How validation and test run is in `EvaluationSampling`.

    Attributes:
        lookback: Rows in a window.
        stride: Rows from the start of a training window to the start of the next.
        horizon: Rows from the last row of a window to the row whose voltage is estimated: 0 for the same row, 1 for
            VEstim's next-step variant.
        batch_size: Windows in a batch, on each rank.
        burn_in: Rows at the start of each recording that a streamed evaluation does not score; None leaves out those
            that no window ends at, so that both evaluations score the same rows.
        orders: Orders of the data side by side in a batch, which is as many times as large: one for each member of an
            ensemble.

    Raises:
        ConfigurationError: If a number is out of its range or ``evaluation`` unknown.

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
        """Fewest rows of a recording that are of use."""
        return max(self.lookback, self.scored_from + 1) + self.horizon

    @property
    def minimum_reason(self) -> str:
        """What needs that many rows, for error messages."""
        burn_in = "" if self.burn_in is None else f" with burn_in {self.burn_in}"
        return f"sampling.lookback={self.lookback}{burn_in}" + (f" and horizon {self.horizon}" if self.horizon else "")
