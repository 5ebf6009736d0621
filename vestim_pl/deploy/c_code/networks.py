"""Write each kind of network as C statements."""

from collections.abc import Iterable
from functools import singledispatch
from typing import Any, cast

from torch import Tensor, nn

from vestim_pl.deploy.c_code.layers import (
    write_attention_layer,
    write_direct_path,
    write_layer_norm,
    write_linear,
    write_output,
    write_output_filter,
    write_recurrent_layer,
)
from vestim_pl.deploy.c_code.program import Function, Program
from vestim_pl.errors import ConfigurationError
from vestim_pl.networks.attention import AttentionLayer
from vestim_pl.networks.ensemble import Ensemble
from vestim_pl.networks.feedforward import FeedForwardNetwork
from vestim_pl.networks.recurrent import RecurrentNetwork
from vestim_pl.networks.recurrent_layer import RecurrentLayer
from vestim_pl.networks.transformer import TransformerNetwork

__all__ = ["write_network"]


def write_network(network: nn.Module, program: Program, features: str) -> str:
    """Add the functions of a network to a program.

    Args:
        network: The network, or an ensemble of networks.
        program: Receives functions, weights and state.
        features: Expression of the array of scaled features, for the caller.

    Returns:
        Expression of the scaled voltage, for the caller.

    Raises:
        ConfigurationError: If this kind of network has no C code.

    """
    members = list(network.members) if isinstance(network, Ensemble) else [network]
    calls = []
    for index, member in enumerate(members, 1):
        prefix = f"member_{index}_" if len(members) > 1 else ""
        name = f"member_{index}" if prefix else "network"
        function = program.function(
            name, f"Scaled voltage from the scaled features{f', member {index}' * bool(prefix)}."
        )
        _write(member, function, prefix)
        calls.append(f"{name}({'state, ' if function.takes_state else ''}{features})")
    return calls[0] if len(calls) == 1 else f"({' + '.join(calls)}) / {len(calls)}.0f"


@singledispatch
def _write(network: Any, function: Function, prefix: str) -> None:
    """Write the body of a function that maps ``features`` to the scaled voltage."""
    raise ConfigurationError(
        f"format: {type(network).__name__} has no C code; use format=onnx, or add it to"
        " vestim_pl/deploy/c_code/networks.py"
    )


@_write.register
def _(network: RecurrentNetwork, function: Function, prefix: str) -> None:
    source = "features"
    for index, layer in enumerate(cast("Iterable[RecurrentLayer]", network.layers), 1):
        source = write_recurrent_layer(function, f"{prefix}layer_{index}", layer, source)
    function.section("Head")
    write_output(function, f"{prefix}head", network.head, source)
    if network.direct is not None:
        write_direct_path(function, f"{prefix}direct", network.direct)
    if network.output_filter is not None:
        write_output_filter(function, f"{prefix}filter", network.output_filter)
    function.line("return voltage;")


@_write.register
def _(network: FeedForwardNetwork, function: Function, prefix: str) -> None:
    source, width = "features", network.features
    if network.history > 1:
        function.section(f"The last {network.history} samples, oldest first")
        count = (network.history - 1) * width
        past = function.program.state(f"{prefix}past", count, "scaled features of the samples before, oldest first")
        source = function.buffer("samples", network.history * width)
        function.call("window", source, past, "features", width, network.history, "state->started")
    name, size, depth = "", 0, 0
    for module in network.layers:
        if isinstance(module, nn.Linear):
            depth, size = depth + 1, module.out_features
            name = f"{prefix}layer_{depth}"
            function.section(f"Layer {depth}: {module.in_features} -> {size}")
            weight = module.weight if depth > 1 else _sample_after_sample(module.weight, network.history)
            source = write_linear(function, name, module, source, f"output_{depth}", weight)
        elif isinstance(module, nn.LayerNorm):
            source = write_layer_norm(function, f"{name}_norm", module, source, f"normed_{depth}")
        elif isinstance(module, nn.ReLU):
            function.call("relu", source, size)
    function.section("Head")
    write_output(function, f"{prefix}head", network.head, source)
    function.line("return voltage;")


@_write.register
def _(network: TransformerNetwork, function: Function, prefix: str) -> None:
    program, rows = function.program, network.lookback
    newest = program.state(f"{prefix}newest", None, "row of the caches that holds the newest step", "int32_t")
    count = program.state(f"{prefix}count", None, f"rows in use, at most {rows}", "int32_t")
    function.section("The caches are ring buffers of the last steps")
    function.line(f"{newest} = ({newest} + 1) % {rows};")
    function.line(f"{count} += {count} < {rows};")
    function.section(f"Embedding: {network.embedding.in_features} -> {network.embedding.out_features}")
    source = write_linear(function, f"{prefix}embedding", network.embedding, "features", "embedded")
    for index, layer in enumerate(cast("Iterable[AttentionLayer]", network.layers), 1):
        source = write_attention_layer(function, f"{prefix}layer_{index}", layer, source, (newest, count))
    function.section("Head")
    source = write_layer_norm(function, f"{prefix}norm", network.norm, source, "normed")
    write_output(function, f"{prefix}head", network.head, source)
    if network.direct is not None:
        write_direct_path(function, f"{prefix}direct", network.direct)
    function.line("return voltage;")


def _sample_after_sample(weight: Tensor, history: int) -> Tensor:
    """Reorder columns that are grouped by feature, as ``Tensor.unfold`` gives them, to be grouped by sample."""
    return weight.unflatten(1, (-1, history)).transpose(1, 2).flatten(1)
