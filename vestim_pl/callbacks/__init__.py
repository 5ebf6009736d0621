"""Callbacks for any Lightning project; they import nothing of vestim_pl but its pure functions."""

from vestim_pl.callbacks.adaptive_gradient_clipping import AdaptiveGradientClipping
from vestim_pl.callbacks.gradient_noise import GradientNoise
from vestim_pl.callbacks.step_guard import StepGuard

__all__ = [
    "AdaptiveGradientClipping",
    "GradientNoise",
    "StepGuard",
]
