"""Turn an estimator into the source files of a C program."""

from dataclasses import dataclass
from importlib.resources import files

from jinja2 import DictLoader, Environment, StrictUndefined

from vestim_pl.deploy.c_code.names import check_prefix, comment_text, identifiers, number, string_literal
from vestim_pl.deploy.c_code.networks import write_network
from vestim_pl.deploy.c_code.program import Function, Program
from vestim_pl.deploy.facts import ModelFacts
from vestim_pl.errors import ConfigurationError
from vestim_pl.estimator import VoltageEstimator

__all__ = ["c_files", "c_program"]

_TEMPLATES = {
    "{name}.h": "header.h.j2",
    "{name}.c": "model.c.j2",
    "{name}_weights.h": "weights.h.j2",
    "main.c": "main.c.j2",
    "Makefile": "Makefile.j2",
}
_MOST_FEATURES = 32  # bits of the result of NAME_outside_training


@dataclass(frozen=True)
class _Feature:
    """A column, as the templates need it."""

    column: str
    identifier: str
    position: int
    comment: str
    range: tuple[float, float] | None


def c_program(estimator: VoltageEstimator, name: str = "cell_voltage", quantize: bool = False) -> Program:
    """Translate the step of an estimator: RC pairs, scaler, networks and filters.

    Args:
        estimator: The trained estimator; it is not changed.
        name: Prefix of the public names.
        quantize: Whether weights have 8 bits.

    Raises:
        ConfigurationError: If the name is no C identifier or the kind of network has no C code.

    """
    program = Program(check_prefix(name), quantize)
    features = identifiers(estimator.hparams["features"])
    scaler, pairs = estimator.scaler, estimator.rc_pairs
    count = len(scaler.input_mean)
    step = Function(program, f"{name}_step", "")
    step.buffer("features", count)
    program.state("started", None, "0 before the first sample", "int32_t")
    if pairs is not None:
        step.section("Voltages of the RC pairs, in units of 1 ohm, are further features")
        added = len(pairs.time_constants)
        names = dict(zip(estimator.hparams["features"], features, strict=True))
        current, temperature = (f"inputs->{names[pairs.options[role]]}" for role in ("current", "temperature"))
        taus = program.constant("rc_time_constants", pairs.time_constants, "time constants at 25 degC, in steps")
        voltages = program.state("rc_voltages", added, "voltages of the RC pairs")
        cold_factor = number(pairs.cold_factor)
        step.call("rc_pairs", voltages, taus, added, cold_factor, current, temperature, expf=1, expm1f=added)
        step.call("copy", f"features + {len(features)}", voltages, added)
        program.multiply_adds += added
    step.section("The network takes scaled features")
    means = program.constant("feature_means", scaler.input_mean, "means of the training data, in physical units")
    deviations = program.constant("feature_deviations", scaler.input_std, "standard deviations of the training data")
    step.call("standardise", "features", means, deviations, count)
    step.line(f"const float scaled = {write_network(estimator.network, program, 'features')};")
    step.line("state->started = 1;")
    step.line(f"return scaled * {number(scaler.target_std.item())} + {number(scaler.target_mean.item())};")
    program.functions.append(step)
    return program


def c_files(estimator: VoltageEstimator, program: Program, facts: ModelFacts) -> dict[str, str]:
    """Write the source files of a translated estimator.

    Args:
        estimator: The estimator that was translated.
        program: Its translation, from `c_program`.
        facts: What the checkpoint knows about it.

    Returns:
        Text by file name.

    Raises:
        ConfigurationError: If there are too many features.

    Example::

        >>> import torch
        >>> from vestim_pl.deploy.facts import model_facts
        >>> estimator = VoltageEstimator(["SOC", "Current", "Temp"], {"name": "LSTM", "hidden_sizes": [8]})
        >>> estimator.scaler.fit(torch.randn(9, 3), torch.randn(9))
        >>> written = c_files(estimator, c_program(estimator), model_facts(estimator))
        >>> sorted(written)
        ['Makefile', 'cell_voltage.c', 'cell_voltage.h', 'cell_voltage_weights.h', 'main.c']
        >>> "float cell_voltage_step(cell_voltage_state *state, const cell_voltage_inputs *inputs);" in (
        ...     written["cell_voltage.h"])
        True

    """
    if len(facts.features) > _MOST_FEATURES:
        raise ConfigurationError(
            f"format: c takes at most {_MOST_FEATURES} features and the checkpoint has {len(facts.features)}; use"
            " format=onnx"
        )
    features = [
        _Feature(column, identifier, position, _comment(facts, column), facts.ranges.get(column))
        for position, (column, identifier) in enumerate(zip(facts.features, identifiers(facts.features), strict=True))
    ]
    content = {
        "name": program.prefix,
        "program": program,
        "facts": facts,
        "features": features,
        "width": max(len(f"float {feature.identifier};") for feature in features),
        "state_width": max(len(field.declaration) for field in program.fields),
        "ranged": bool(facts.ranges),
        "count": len(estimator.scaler.input_mean),
        "network": _network(estimator, facts),
        "calls": ", ".join(f"{count} {name}" for name, count in sorted(program.calls.items())) or "no calls of libm",
    }
    return {
        file.format(name=program.prefix): _ENVIRONMENT.get_template(template).render(content)
        for file, template in _TEMPLATES.items()
    }


def _comment(facts: ModelFacts, column: str) -> str:
    unit = f" [{facts.units[column]}]" if column in facts.units else ""
    low_high = facts.ranges.get(column)
    trained = f"; trained on {low_high[0]:.6g} to {low_high[1]:.6g}" if low_high else ""
    formula = f"; the training derived it: {facts.formulas[column]}" if column in facts.formulas else ""
    return f"{column}{unit}{trained}{formula}"


def _network(estimator: VoltageEstimator, facts: ModelFacts) -> str:
    """Describe the network in one line."""
    options = facts.network
    sizes = ", ".join(map(str, options.get("hidden_sizes", ())))
    members = options.get("members", 1)
    pairs = 0 if estimator.rc_pairs is None else len(estimator.rc_pairs.time_constants)
    return (
        f"{options.get('name')} [{sizes}]"
        + (f", mean of {members} members" if members > 1 else "")
        + (f", fed with {pairs} RC pairs" if pairs else "")
    )


def _environment() -> Environment:
    folder = files("vestim_pl.deploy.c_code") / "templates"
    environment = Environment(  # noqa: S701 - C source, not HTML; text of a checkpoint goes through the filters below
        loader=DictLoader({name: (folder / name).read_text("utf-8") for name in _TEMPLATES.values()}),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters.update(comment=comment_text, number=number, literal=string_literal)
    return environment


_ENVIRONMENT = _environment()
