"""Run every check that needs no finished run: settings, data, and measurements of a few steps."""

from collections.abc import Mapping
from typing import Any

from vestim_pl.data import VoltageDataModule
from vestim_pl.diagnosis.checks.attention_span import check_attention_span
from vestim_pl.diagnosis.checks.capacity import check_capacity
from vestim_pl.diagnosis.checks.clipping import ClipSetting, check_clipping
from vestim_pl.diagnosis.checks.column_ranges import check_column_ranges
from vestim_pl.diagnosis.checks.constant_columns import check_constant_columns
from vestim_pl.diagnosis.checks.cost import Plan, check_memory, check_time
from vestim_pl.diagnosis.checks.distributed import check_distributed
from vestim_pl.diagnosis.checks.dropout import check_dropout
from vestim_pl.diagnosis.checks.fused_optimizer import check_fused_optimizer
from vestim_pl.diagnosis.checks.gradient_memory import check_gradient_memory
from vestim_pl.diagnosis.checks.learning_rate import check_learning_rate
from vestim_pl.diagnosis.checks.mixed_precision import check_mixed_precision
from vestim_pl.diagnosis.checks.sampling_interval import check_sampling_interval
from vestim_pl.diagnosis.checks.weight_decay import check_weight_decay
from vestim_pl.diagnosis.finding import Finding, Severity
from vestim_pl.diagnosis.overrides import callback_key, learning_rate, switch_on
from vestim_pl.diagnosis.probe import Measurements
from vestim_pl.networks import NETWORKS
from vestim_pl.settings.override import Override, command_text

__all__ = ["diagnose_data", "diagnose_settings", "diagnose_training"]


def diagnose_settings(settings: Mapping[str, Any], precision: str, multirun: bool) -> list[Finding]:
    """Check whether settings contradict each other on this machine.

    Args:
        settings: The composed configuration as plain dictionaries.
        precision: Precision of the trainer on this machine.
        multirun: Whether the command runs with ``-m``.

    """
    trainer = settings["trainer"]
    return [
        check_fused_optimizer(settings["optimizer"], precision),
        check_distributed(
            trainer.get("devices", "auto"),
            str(trainer.get("strategy", "auto")),
            multirun,
            str(trainer.get("accelerator", "auto")),
            int(trainer.get("num_nodes", 1)),
        ),
    ]


def diagnose_data(datamodule: VoltageDataModule) -> list[Finding]:
    """Check the recordings that the reader accepted."""
    tables = {split: datamodule.table(split) for split in datamodule.splits}
    names, voltage = datamodule.features, datamodule.columns.voltage
    findings = [check_constant_columns(tables["train"], names, voltage)]
    if "test" in tables:
        findings.append(check_column_ranges(tables["train"], tables["test"], names, voltage))
    return [*findings, check_sampling_interval(tables)]


def diagnose_training(
    settings: Mapping[str, Any],
    datamodule: VoltageDataModule,
    parameters: int,
    precision: str,
    found: Measurements,
    plan: Plan,
) -> list[Finding]:
    """Check the measurements of the first steps.

    Args:
        settings: The composed configuration as plain dictionaries.
        datamodule: The recordings, loaded.
        parameters: Trainable parameters.
        precision: Precision of the trainer on this machine.
        found: The measurements.
        plan: Length of the training.

    """
    network, optimizer, sampling = (settings[name] for name in ("network", "optimizer", "sampling"))
    lookback, sizes = int(sampling["lookback"]), list(network["hidden_sizes"])
    parameters //= int(network.get("members", 1))  # members of an ensemble are trained separately, each on all rows
    size = "lanes" if "lanes" in sampling else "batch_size"
    smaller = (Override(f"sampling.{size}", max(1, int(sampling[size]) // 2)),) if size in sampling else ()
    recurrent = NETWORKS[str(network["name"])].recurrent
    data_bytes = sum(datamodule.table(split).nbytes for split in datamodule.splits)
    rate = float(optimizer.get("lr", 1e-3))
    rate_finding = check_learning_rate(found.range_test, rate)
    unstable = rate_finding.severity is Severity.ERROR
    return [
        check_clipping(
            found.norms,
            ClipSetting.of(settings["trainer"], settings["callbacks"]),
            unstable=unstable,
            lower_rate=rate_finding.overrides if unstable else learning_rate(rate / 10),
        ),
        rate_finding,
        _check_memory(found, network, lookback, flow_probe(settings["callbacks"])),
        check_capacity(parameters, lookback, sizes, recurrent),
        check_weight_decay(optimizer, parameters, datamodule.table("train").rows),
        check_dropout(float(network.get("dropout", 0.0)), sizes, found.dropout_scatter_mv, recurrent),
        check_mixed_precision(precision, found.full_seconds, found.mixed_seconds),
        check_time(plan, found.step_seconds, found.validation_seconds, sampling.get("stride")),
        check_memory(found.peak_bytes, found.available_bytes, data_bytes, found.where, smaller),
    ]


def _check_memory(found: Measurements, network: Mapping[str, Any], lookback: int, probe: str) -> Finding:
    """Check how far attention reaches, or how far the gradient does in a network without attention."""
    if found.spans:
        covered = len(network["hidden_sizes"]) * (int(network["lookback"]) - 1) + 1
        return check_attention_span(found.spans, lookback, covered, probe)
    chrono_is_open = "forget_bias" in network and network["forget_bias"] != "chrono"
    return check_gradient_memory(found.flows, lookback, chrono_is_open, probe)


def flow_probe(callbacks: Mapping[str, Any]) -> str:
    """Name the callback that logs how far back the gradient reaches, or the override that adds it.

    ``callbacks=[...]`` would replace the choice of a preset, so the override adds one callback.

    Example::

        >>> flow_probe({"gradient_flow": {"_target_": "vestim_pl.callbacks.GradientFlowProbe"}})
        'the callback gradient_flow'
        >>> flow_probe({})
        "'+callbacks.gradient_flow={_target_:vestim_pl.callbacks.GradientFlowProbe}'"

    """
    if name := callback_key(callbacks, "GradientFlowProbe"):
        return f"the callback {name}"
    return command_text(switch_on(callbacks, "gradient_flow", "GradientFlowProbe"))
