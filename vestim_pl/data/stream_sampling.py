"""Settings of training on streams."""

from dataclasses import dataclass
from typing import Literal

from vestim_pl.functional.checks import check_choice, check_integers

__all__ = ["StreamSampling"]


@dataclass(frozen=True)
class StreamSampling:
    """Truncated backpropagation through time: recordings run in lanes, chunk after chunk, with carried state.

    Attributes:
        lookback: Steps of a chunk, through which gradients flow back.
        lanes: Recordings that run side by side, on each rank: the batch size.
        burn_in: Rows after a reset to the zero state that do not count in the loss, and at the start of a recording not
            in a streamed evaluation either.
        evaluation: How validation and test run: ``streams`` over whole recordings with carried state, or ``windows`` of
            ``lookback`` rows from the zero state.
        evaluation_stride: Rows from the start of an evaluated window to the start of the next.
        evaluation_batch_size: Windows in a batch of an evaluation on windows.
        evaluation_lanes: Most recordings that a streamed evaluation runs side by side.
        evaluation_chunk: Rows of each recording in a batch of a streamed evaluation; results do not depend on it.

    Raises:
        ConfigurationError: If a number is out of its range or ``evaluation`` unknown.

    Example::

        >>> StreamSampling(lookback=100, burn_in=50).minimum_rows
        51

    """

    lookback: int = 100
    lanes: int = 16
    burn_in: int = 50
    evaluation: Literal["windows", "streams"] = "streams"
    evaluation_stride: int = 1
    evaluation_batch_size: int = 256
    evaluation_lanes: int = 16
    evaluation_chunk: int = 500

    def __post_init__(self) -> None:
        check_integers(
            self,
            "sampling",
            lookback=1,
            lanes=1,
            burn_in=0,
            evaluation_stride=1,
            evaluation_batch_size=1,
            evaluation_lanes=1,
            evaluation_chunk=1,
        )
        check_choice("sampling.evaluation", self.evaluation, ("windows", "streams"))

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
        """Fewest rows of a recording that are of use."""
        windows = self.lookback if self.evaluation == "windows" else 1
        return max(self.burn_in + 1, windows)

    @property
    def minimum_reason(self) -> str:
        """What needs that many rows, for error messages."""
        if self.evaluation == "windows" and self.lookback > self.burn_in:
            return f"sampling.lookback={self.lookback}"
        return f"sampling.burn_in={self.burn_in}"
