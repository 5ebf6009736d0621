"""What clips the gradient in a training, and under which setting its threshold stands."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from vestim_pl.diagnosis.nodes import name_of

__all__ = ["ClipSetting"]

TRAINER = "trainer.gradient_clip_val"


@dataclass(frozen=True)
class ClipSetting:
    """Threshold of clipping, whoever clips: the trainer, or ``AdaptiveGradientClipping`` by its ``max_norm``.

    Attributes:
        threshold: Largest size that every step keeps to; None for none.
        key: Setting that holds it.
        adaptive: Whether a callback clips by a limit that follows the norm, the threshold on top.
        by_value: Whether every value is clipped by itself instead of the norm of all.

    """

    threshold: float | None = None
    key: str = TRAINER
    adaptive: bool = False
    by_value: bool = False

    @classmethod
    def of(cls, trainer: Mapping[str, Any], callbacks: Mapping[str, Any]) -> "ClipSetting":
        """Read it from the nodes ``trainer`` and ``callbacks`` of a configuration.

        Example::

            >>> node = {"_target_": "vestim_pl.callbacks.AdaptiveGradientClipping", "max_norm": 1.0}
            >>> ClipSetting.of({"gradient_clip_val": None}, {"mine": node}).key
            'callbacks.mine.max_norm'

        """
        if name := name_of(callbacks, "AdaptiveGradientClipping"):
            there = "" if "max_norm" in callbacks[name] else "+"
            bound = _positive(callbacks[name].get("max_norm"))
            return cls(bound, f"{there}callbacks.{name}.max_norm", adaptive=True)
        by_value = str(trainer.get("gradient_clip_algorithm") or "norm") == "value"
        there = "" if "gradient_clip_val" in trainer else "+"
        return cls(_positive(trainer.get("gradient_clip_val")), f"{there}{TRAINER}", by_value=by_value)

    @property
    def algorithm(self) -> str:
        """Lightning's word for what is clipped: ``norm`` or ``value``."""
        return "value" if self.by_value else "norm"

    @property
    def size(self) -> str:
        """What is held against the threshold, for a person."""
        return "largest gradient value" if self.by_value else "gradient norm"


def _positive(value: object) -> float | None:
    """A threshold; 0 is none, and so is what an unresolved reference in the file of a run holds."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return float(value) if is_number and value > 0 else None  # type: ignore[arg-type, operator]
