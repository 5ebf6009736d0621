"""What clips the gradient in a training, and which setting holds its threshold."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from vestim_pl.diagnosis.overrides import callback_key
from vestim_pl.settings.override import Override

__all__ = ["ClipSetting"]

TRAINER = "trainer.gradient_clip_val"


@dataclass(frozen=True)
class ClipSetting:
    """Threshold of clipping, by the trainer or by the ``max_norm`` of ``AdaptiveGradientClipping``.

    Attributes:
        threshold: Upper limit for every step; None for no limit.
        key: Setting that holds it.
        added: Whether the configuration lacks that setting.
        adaptive: Whether a callback clips by a limit that follows the norm, with the threshold on top.
        by_value: Whether each value is clipped separately instead of the norm of all.

    """

    threshold: float | None = None
    key: str = TRAINER
    added: bool = False
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
        if name := callback_key(callbacks, "AdaptiveGradientClipping"):
            node = callbacks[name]
            key, added = f"callbacks.{name}.max_norm", "max_norm" not in node
            return cls(_positive(node.get("max_norm")), key, added, adaptive=True)
        by_value = str(trainer.get("gradient_clip_algorithm") or "norm") == "value"
        added = "gradient_clip_val" not in trainer
        return cls(_positive(trainer.get("gradient_clip_val")), added=added, by_value=by_value)

    def to(self, threshold: float) -> tuple[Override, ...]:
        """Override that sets the threshold."""
        return (Override(self.key, threshold, self.added),)

    @property
    def algorithm(self) -> str:
        """Lightning's word for what is clipped: ``norm`` or ``value``."""
        return "value" if self.by_value else "norm"

    @property
    def size(self) -> str:
        """What is compared with the threshold, for a person."""
        return "largest gradient value" if self.by_value else "gradient norm"


def _positive(value: object) -> float | None:
    """Return a threshold; None for 0 and for text, such as an unresolved reference in the file of a run."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return float(value) if is_number and value > 0 else None  # type: ignore[arg-type, operator]
