"""Settings of validation and test, shared by both samplings."""

from dataclasses import dataclass
from typing import Literal

from vestim_pl.settings.checks import check_choice, check_integers

__all__ = ["EvaluationSampling"]


@dataclass(frozen=True, kw_only=True)
class EvaluationSampling:
    """How validation and test run: on windows from the zero state, or on whole recordings with carried state.

    Attributes:
        evaluation: ``windows`` of ``lookback`` rows from the zero state, or ``streams`` over whole recordings with
            carried state, as a battery management system runs a network.
        evaluation_stride: Rows from the start of an evaluated window to the start of the next.
        evaluation_batch_size: Windows in a batch of an evaluation on windows.
        evaluation_lanes: Most recordings that a streamed evaluation runs side by side.
        evaluation_chunk: Rows of each recording in a batch of a streamed evaluation; results do not depend on it.

    Raises:
        ConfigurationError: If a number is out of its range or ``evaluation`` unknown.

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
