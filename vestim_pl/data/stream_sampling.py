"""Settings of training on streams."""

from dataclasses import dataclass, field
from typing import Literal

from vestim_pl.data.evaluation_sampling import EvaluationSampling
from vestim_pl.settings.checks import check_integers

__all__ = ["StreamSampling"]


@dataclass(frozen=True)
class StreamSampling(EvaluationSampling):
    """Truncated backpropagation through time: recordings run in lanes, chunk by chunk, with carried state.

    `EvaluationSampling` describes validation and test.

    Attributes:
        lookback: Steps of a chunk; gradients flow back through them.
        lanes: Recordings side by side on each rank; the batch size.
        burn_in: Rows after a reset to the zero state that do not count in the loss. A streamed evaluation does not
            score them at the start of a recording either.
        orders: Orders of the data side by side in a batch, one for each network of an ensemble; the batch grows by
            this factor.

    Raises:
        ConfigurationError: If a number is out of range, or ``evaluation`` is unknown.

    Example::

        >>> StreamSampling(lookback=100, burn_in=50).minimum_rows
        51

    """

    lookback: int = 100
    lanes: int = 16
    burn_in: int = 50
    evaluation: Literal["windows", "streams"] = field(default="streams", kw_only=True)
    orders: int = field(default=1, kw_only=True)

    def __post_init__(self) -> None:
        super().__post_init__()
        check_integers(self, "sampling", lookback=1, lanes=1, burn_in=0, orders=1)

    @property
    def horizon(self) -> int:
        """Streams estimate the voltage of the same row."""
        return 0

    @property
    def scored_from(self) -> int:
        """First row of a recording that a streamed evaluation scores."""
        return self.burn_in

    @property
    def minimum_rows(self) -> int:
        """Smallest usable number of rows in a recording."""
        windows = self.lookback if self.evaluation == "windows" else 1
        return max(self.burn_in + 1, windows)

    @property
    def minimum_reason(self) -> str:
        """Setting that requires so many rows, for error messages."""
        if self.evaluation == "windows" and self.lookback > self.burn_in:
            return f"sampling.lookback={self.lookback}"
        return f"sampling.burn_in={self.burn_in}"
