"""Callbacks for any Lightning project; they import nothing of vestim_pl but its pure functions."""

from vestim_pl.callbacks.adaptive_gradient_clipping import AdaptiveGradientClipping
from vestim_pl.callbacks.adaptive_lookback import AdaptiveLookback
from vestim_pl.callbacks.crash_bundle import CrashBundle
from vestim_pl.callbacks.divergence_recovery import DivergenceRecovery
from vestim_pl.callbacks.epoch_summary import EpochSummary
from vestim_pl.callbacks.event_log import EventLog
from vestim_pl.callbacks.finite_parameter_guard import FiniteParameterGuard
from vestim_pl.callbacks.flush_denormals import FlushDenormals
from vestim_pl.callbacks.graceful_interrupt import GracefulInterrupt
from vestim_pl.callbacks.gradient_flow_probe import GradientFlowProbe
from vestim_pl.callbacks.gradient_noise import GradientNoise
from vestim_pl.callbacks.gradient_norm_monitor import GradientNormMonitor
from vestim_pl.callbacks.keep_freed_memory import KeepFreedMemory
from vestim_pl.callbacks.last_checkpoint import LastCheckpoint
from vestim_pl.callbacks.learning_rate_warmup import LearningRateWarmup
from vestim_pl.callbacks.lookback_warmup import LookbackWarmup
from vestim_pl.callbacks.plateau_learning_rate import PlateauLearningRate
from vestim_pl.callbacks.random_state import RandomStateCheckpoint
from vestim_pl.callbacks.step_guard import StepGuard

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
