"""Callbacks for any Lightning project; they import nothing of vestim_pl but its pure functions."""

from vestim_pl.callbacks.crash_bundle.crash_bundle import CrashBundle
from vestim_pl.callbacks.gradients.adaptive_gradient_clipping import AdaptiveGradientClipping
from vestim_pl.callbacks.gradients.gradient_flow_probe import GradientFlowProbe
from vestim_pl.callbacks.gradients.gradient_noise import GradientNoise
from vestim_pl.callbacks.gradients.gradient_norm_monitor import GradientNormMonitor
from vestim_pl.callbacks.guards.finite_parameter_guard import FiniteParameterGuard
from vestim_pl.callbacks.guards.step_guard import StepGuard
from vestim_pl.callbacks.learning_rate.learning_rate_warmup import LearningRateWarmup
from vestim_pl.callbacks.learning_rate.plateau_learning_rate import PlateauLearningRate
from vestim_pl.callbacks.lookback.adaptive_lookback import AdaptiveLookback
from vestim_pl.callbacks.lookback.lookback_warmup import LookbackWarmup
from vestim_pl.callbacks.recovery.divergence_recovery import DivergenceRecovery
from vestim_pl.callbacks.runtime.epoch_summary import EpochSummary
from vestim_pl.callbacks.runtime.event_log import EventLog
from vestim_pl.callbacks.runtime.flush_denormals import FlushDenormals
from vestim_pl.callbacks.runtime.graceful_interrupt import GracefulInterrupt
from vestim_pl.callbacks.runtime.keep_freed_memory import KeepFreedMemory
from vestim_pl.callbacks.runtime.last_checkpoint import LastCheckpoint
from vestim_pl.callbacks.runtime.random_state import RandomStateCheckpoint

__all__ = [
    "AdaptiveGradientClipping",
    "AdaptiveLookback",
    "CrashBundle",
    "DivergenceRecovery",
    "EpochSummary",
    "EventLog",
    "FiniteParameterGuard",
    "FlushDenormals",
    "GracefulInterrupt",
    "GradientFlowProbe",
    "GradientNoise",
    "GradientNormMonitor",
    "KeepFreedMemory",
    "LastCheckpoint",
    "LearningRateWarmup",
    "LookbackWarmup",
    "PlateauLearningRate",
    "RandomStateCheckpoint",
    "StepGuard",
]
