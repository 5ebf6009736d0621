"""Write the layers of networks as C statements.

Each function adds the statements of a layer, its weights and its state, and returns the expression of its output.
"""

from typing import Any, cast

from torch import Tensor, nn

from vestim_pl.deploy.c_code.names import number
from vestim_pl.deploy.c_code.program import Function
from vestim_pl.networks.attention import AttentionLayer
from vestim_pl.networks.causal_low_pass import CausalLowPass
from vestim_pl.networks.exponential_smoothing import ExponentialSmoothing
from vestim_pl.networks.recurrent_layer import RecurrentLayer

__all__ = [
    "write_attention_layer",
    "write_direct_path",
    "write_layer_norm",
    "write_linear",
    "write_output",
    "write_output_filter",
    "write_recurrent_layer",
]


def write_linear(
    function: Function, name: str, layer: nn.Linear, source: str, buffer: str, weight: Tensor | None = None
) -> str:
    """Write a dense layer, ``out = bias + weights x source``.

    Args:
        function: Function that is being written.
        name: Prefix of its weights.
        layer: The layer.
        source: Expression of its input.
        buffer: Name of its output on the stack.
        weight: Its weights in another order; those of the layer by default.

    """
    shape = f"[{layer.out_features}][{layer.in_features}]"
    out = function.buffer(buffer, layer.out_features)
    function.call("copy", out, function.program.constant(f"{name}_bias", layer.bias, "biases"), layer.out_features)
    function.multiply_add(
        out, f"{name}_weights", layer.weight if weight is None else weight, source, f"weights {shape}"
    )
    return out


def write_layer_norm(
    function: Function, name: str, norm: nn.LayerNorm, source: str, buffer: str, parts: int = 1
) -> str:
    """Write a layer norm.

    Args:
        function: Function that is being written.
        name: Prefix of its weights.
        norm: The norm; without weights, it only normalises.
        source: Expression of its input.
        buffer: Expression of its output, or the name of a new array on the stack.
        parts: Number of equal parts of the input, each of which is normalised on its own.

    """
    width = norm.normalized_shape[0]
    count = width * parts
    out = buffer if "->" in buffer else function.buffer(buffer, count)
    function.call("normalise", out, source, number(norm.eps), count, width, sqrtf=parts)
    if norm.weight is not None:
        factors = function.program.constant(f"{name}_factors", norm.weight.repeat(parts), "factor of each value")
        shifts = function.program.constant(f"{name}_shifts", norm.bias.repeat(parts), "shift of each value")
        function.call("scale_and_shift", out, factors, shifts, count)
    return out


def write_output(
    function: Function, name: str, head: nn.Linear, source: str, statement: str = "float voltage ="
) -> None:
    """Write the last layer, whose single output is the scaled voltage."""
    weights = function.program.constant(f"{name}_weights", head.weight, "weights of the voltage")
    function.line(f"{statement} {number(head.bias.item())} + {function.dot(weights, source, head.in_features)};")


def write_direct_path(function: Function, name: str, path: nn.Sequential) -> None:
    """Write the perceptron from the features of the step to the voltage, and add its output."""
    function.section("Direct path from the features of this step")
    source = "features"
    for index, linear in enumerate((block[0] for block in cast("Any", path[:-1])), 1):
        source = write_linear(function, f"{name}_{index}", linear, source, f"direct_{index}")
        function.call("hyperbolic_tangent", source, linear.out_features, tanhf=linear.out_features)
    write_output(function, f"{name}_head", cast("nn.Linear", path[-1]), source, "voltage +=")


def write_output_filter(function: Function, name: str, output_filter: nn.Module) -> None:
    """Write the filter of the voltage over time."""
    program = function.program
    if isinstance(output_filter, ExponentialSmoothing):
        function.section("Exponential moving average")
        level = program.state(f"{name}_level", None, "smoothed voltage, scaled")
        weight = number(output_filter.alpha.item())
        program.multiply_adds += 1
        function.line(f"voltage = state->started ? {level} + {weight} * (voltage - {level}) : voltage;")
        function.line(f"{level} = voltage;")
        return
    taps = cast("CausalLowPass", output_filter).taps.flip(0)
    if len(taps) == 1:
        return
    function.section(f"Low-pass filter over {len(taps)} samples")
    past = program.state(f"{name}_past", len(taps) - 1, "scaled voltages of the samples before, oldest first")
    weights = program.constant(f"{name}_taps", taps, "weights, oldest sample first")
    recent = function.buffer("recent", len(taps))
    function.call("window", recent, past, "&voltage", 1, len(taps), "state->started")
    function.line(f"voltage = {function.dot(weights, recent, len(taps))};")


def write_recurrent_layer(function: Function, name: str, layer: RecurrentLayer, source: str) -> str:
    """Write an LSTM or GRU layer with its layer norm."""
    kernel, program = layer.kernel, function.program
    size, width = kernel.hidden_size, kernel.input_size
    weight, recurrent_weight, bias, recurrent_bias = (tensor.detach() for tensor in kernel.all_weights[0])
    lstm = isinstance(kernel, nn.LSTM)
    count = len(bias)
    function.section(f"{name.replace('_', ' ').capitalize()}: {'LSTM' if lstm else 'GRU'}, {width} -> {size}")
    hidden = program.state(f"{name}_hidden", size, "output of the layer")
    gates, order = function.buffer("gates", count), "input, forget, cell, output" if lstm else "reset, update, new"
    first = bias + recurrent_bias if lstm else bias
    function.call("copy", gates, program.constant(f"{name}_bias", first, f"biases of the gates: {order}"), count)
    function.multiply_add(
        gates, f"{name}_input_weights", weight, source, f"weights of the input [{count}][{width}]: {order}"
    )
    recurrent = gates
    if not lstm:
        recurrent = function.buffer("recurrent_gates", count)
        biases = program.constant(f"{name}_recurrent_bias", recurrent_bias, f"biases of the recurrence: {order}")
        function.call("copy", recurrent, biases, count)
    comment = f"weights of the recurrence [{count}][{size}]: {order}"
    function.multiply_add(recurrent, f"{name}_recurrent_weights", recurrent_weight, hidden, comment)
    if lstm:
        cell = program.state(f"{name}_cell", size, "cell state of the layer")
        function.call("lstm_update", hidden, cell, gates, size, expf=3 * size, tanhf=2 * size)
    else:
        function.call("gru_update", hidden, gates, recurrent, size, expf=2 * size, tanhf=size)
    if isinstance(layer.norm, nn.LayerNorm):
        return write_layer_norm(function, f"{name}_norm", layer.norm, hidden, f"{name}_output")
    return hidden


def write_attention_layer(
    function: Function, name: str, layer: AttentionLayer, source: str, ring: tuple[str, str]
) -> str:
    """Write an attention layer with its perceptron.

    Args:
        function: Function that is being written.
        name: Prefix of weights and state.
        layer: The layer.
        source: Expression of its input.
        ring: Expressions of the newest row of the cache, and of the rows in use.

    """
    program, size, heads, rows = function.program, layer.size, layer.heads, layer.lookback
    function.section(f"{name.replace('_', ' ').capitalize()}: attention over {rows} steps, {heads} heads")
    if isinstance(layer.enter, nn.Linear):
        source = write_linear(function, f"{name}_enter", layer.enter, source, f"{name}_input")
    normed = write_layer_norm(function, f"{name}_norm", layer.norm, source, "normed")
    cache = program.state(f"{name}_cache", rows * 2 * size, f"keys and values of the last steps [{rows}][2 * {size}]")
    keys = write_linear(function, f"{name}_key_value", layer.key_value, normed, "keys_and_values")
    row = f"{cache} + {ring[0]} * {2 * size}"
    function.call("copy", row, keys, 2 * size)
    write_layer_norm(function, f"{name}_key_norm", layer.key_norm, keys, row, heads)
    query = write_linear(function, f"{name}_query", layer.query, normed, "raw_query")
    query = write_layer_norm(function, f"{name}_query_norm", layer.query_norm, query, "query", heads)
    rates = program.constant(f"{name}_rates", layer.rates, "loss of attention per step of distance, of each head")
    attended, scores = function.buffer("attended", size), function.buffer("scores", rows)
    function.call("attend", attended, scores, query, cache, rates, size, heads, *ring, rows, expf=heads * rows)
    program.multiply_adds += 2 * size * rows
    program.calls.update(sqrtf=2 * heads)
    hidden = write_linear(function, f"{name}_output", layer.output, attended, f"{name}_hidden")
    function.call("add", hidden, source, size)

    function.section(f"{name.replace('_', ' ').capitalize()}: perceptron")
    widen, narrow = cast("nn.Linear", layer.feedforward[0]), cast("nn.Linear", layer.feedforward[2])
    normed = write_layer_norm(function, f"{name}_feedforward_norm", layer.feedforward_norm, hidden, "normed")
    wide = write_linear(function, f"{name}_widen", widen, normed, "wide")
    function.call("gelu", wide, widen.out_features, erff=widen.out_features)
    added = write_linear(function, f"{name}_narrow", narrow, wide, "narrow")
    function.call("add", hidden, added, size)
    return hidden
