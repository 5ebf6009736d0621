"""Settings of validation and test, shared by both samplings."""

from dataclasses import dataclass
from typing import Literal

from vestim_pl.settings.checks import check_choice, check_integers

__all__ = ["EvaluationSampling"]


@dataclass(frozen=True, kw_only=True)
class EvaluationSampling:
    """Choose how validation and test run: on windows, or on whole recordings with carried state.

    Attributes:
        evaluation: ``windows`` of ``lookback`` rows from the zero state, or ``streams`` over whole recordings with
            carried state, as in a battery management system.
        evaluation_stride: Rows from the start of one evaluated window to the next.
        evaluation_batch_size: Windows a batch in an evaluation on windows.
        evaluation_lanes: Largest number of recordings side by side in a streamed evaluation.
        evaluation_chunk: Rows of each recording a batch in a streamed evaluation; does not change results.

    Raises:
        ConfigurationError: If a number is out of range, or ``evaluation`` is unknown.

    Example::

        >>> EvaluationSampling(evaluation="streams").evaluation_chunk
        500

    """

    evaluation: Literal["windows", "streams"]
    evaluation_stride: int = 1
    evaluation_batch_size: int = 256
    evaluation_lanes: int = 16
    evaluation_chunk: int = 500

    def __post_init__(self) -> None:
        names = ("evaluation_stride", "evaluation_batch_size", "evaluation_lanes", "evaluation_chunk")
        check_integers(self, "sampling", **dict.fromkeys(names, 1))
        check_choice("sampling.evaluation", self.evaluation, ("windows", "streams"))
