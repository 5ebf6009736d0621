"""Collect the parts of a C program: weights, state, functions, and what they cost."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property
from importlib.resources import files
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vestim_pl.deploy.c_code.names import number
from vestim_pl.deploy.c_code.quantization import quantize_rows

__all__ = ["Constant", "Field", "Function", "Program"]

_BYTES = 4  # of a float and of an int32_t
# Functions of the runtime, each after those that it calls: the order in the generated file.
_KERNELS: dict[str, tuple[str, ...]] = {
    "copy": (),
    "add": (),
    "dot": (),
    "multiply_add": ("dot",),
    "multiply_add_int8": (),
    "standardise": (),
    "sigmoid": (),
    "rc_pairs": (),
    "lstm_update": ("sigmoid",),
    "gru_update": ("sigmoid",),
    "normalise": (),
    "scale_and_shift": (),
    "relu": (),
    "hyperbolic_tangent": (),
    "gelu": (),
    "window": ("copy",),
    "attend": ("dot",),
}


@dataclass(frozen=True)
class Constant:
    """An array of weights, in flash.

    Attributes:
        name: C identifier.
        values: ``[...]`` float32 or int8; its last axis is one line of the file.
        comment: What it is.

    """

    name: str
    values: NDArray[Any]
    comment: str

    @property
    def c_type(self) -> str:
        return "int8_t" if self.values.dtype == np.int8 else "float"

    @property
    def rows(self) -> list[str]:
        """Numbers as C text, one string a row."""
        write = str if self.values.dtype == np.int8 else number
        return [", ".join(write(value) for value in row) for row in np.atleast_2d(self.values).tolist()]


@dataclass(frozen=True)
class Field:
    """A member of the state, in RAM.

    Attributes:
        name: C identifier.
        count: Length of the array; None for a single value.
        comment: What it is.
        c_type: ``float`` or ``int32_t``.

    """

    name: str
    count: int | None
    comment: str
    c_type: str = "float"

    @property
    def declaration(self) -> str:
        return f"{self.c_type} {self.name}{'' if self.count is None else f'[{self.count}]'};"

    @property
    def bytes(self) -> int:
        return _BYTES * (1 if self.count is None else self.count)


@dataclass
class Program:
    """The whole program.

    Attributes:
        prefix: Prefix of the public names.
        quantize: Whether matrices have 8-bit weights.
        constants: Weights, in flash.
        fields: State of a cell, in RAM.
        functions: One function a network, in order.
        kernels: Names of the runtime functions that are called.
        multiply_adds: Multiply-adds of all matrices, vectors and filters in a step.
        calls: Calls of functions of libm in a step, by name.

    """

    prefix: str
    quantize: bool = False
    constants: list[Constant] = field(default_factory=list)
    fields: list[Field] = field(default_factory=list)
    functions: list["Function"] = field(default_factory=list)
    kernels: set[str] = field(default_factory=set)
    multiply_adds: int = 0
    calls: Counter[str] = field(default_factory=Counter)

    @property
    def flash_bytes(self) -> int:
        """Bytes of all weights."""
        return sum(constant.values.nbytes for constant in self.constants)

    @property
    def state_bytes(self) -> int:
        """Bytes of the state of one cell."""
        return sum(item.bytes for item in self.fields)

    @property
    def stack_bytes(self) -> int:
        """Bytes of the arrays on the stack, of the step and the network that it calls."""
        step, *networks = (function.buffer_bytes for function in self.functions[::-1])
        return step + max(networks, default=0)

    def constant(self, name: str, values: Tensor | Iterable[float], comment: str) -> str:
        """Add an array of float32 weights and return its name."""
        array = torch.as_tensor(values).detach().cpu().numpy().astype(np.float32)
        self.constants.append(Constant(name, array, comment))
        return name

    def state(self, name: str, count: int | None, comment: str, c_type: str = "float") -> str:
        """Add a member of the state and return the expression for it."""
        self.fields.append(Field(name, count, comment, c_type))
        return f"state->{name}"

    def function(self, name: str, comment: str) -> "Function":
        """Add a function and return it."""
        self.functions.append(Function(self, name, comment))
        return self.functions[-1]

    @cached_property
    def runtime(self) -> list[str]:
        """Source of the runtime functions that are called, in order."""
        needed = set(self.kernels)
        for name in reversed(_KERNELS):
            if name in needed:
                needed.update(_KERNELS[name])
        folder = files("vestim_pl.deploy.c_code") / "kernels"
        return [(folder / f"{name}.c").read_text().rstrip() for name in _KERNELS if name in needed]


@dataclass
class Function:
    """A function that is being written.

    Attributes:
        program: The program that it belongs to.
        name: C identifier.
        comment: What it computes.
        lines: Statements.
        buffers: Lengths of its arrays on the stack, by name.

    """

    program: Program
    name: str
    comment: str
    lines: list[str] = field(default_factory=list)
    buffers: dict[str, int] = field(default_factory=dict)

    @property
    def buffer_bytes(self) -> int:
        return _BYTES * sum(self.buffers.values())

    @property
    def takes_state(self) -> bool:
        """Whether it needs the state of the cell."""
        return any("state->" in line for line in self.lines)

    def section(self, comment: str) -> None:
        """Begin a paragraph with a comment."""
        self.lines += ["", f"/* {comment} */"]

    def line(self, statement: str) -> None:
        """Add a statement."""
        self.lines.append(statement)

    def call(self, kernel: str, *arguments: object, **calls: int) -> None:
        """Call a runtime function.

        Args:
            kernel: Its name.
            arguments: Expressions.
            calls: Calls of libm that it makes, by name.

        """
        self.program.kernels.add(kernel)
        self.program.calls.update(calls)
        self.line(f"{kernel}({', '.join(map(str, arguments))});")

    def dot(self, left: str, right: str, count: int) -> str:
        """Return an expression for the product of two vectors."""
        self.program.kernels.add("dot")
        self.program.multiply_adds += count
        return f"dot({left}, {right}, {count})"

    def buffer(self, name: str, count: int) -> str:
        """Reserve an array on the stack; the longest request for a name counts."""
        self.buffers[name] = max(count, self.buffers.get(name, 0))
        return name

    def multiply_add(self, out: str, name: str, matrix: Tensor, vector: str, comment: str) -> None:
        """Add the product of a matrix of weights ``[R, C]`` and a vector to ``out``.

        Args:
            out: Expression of an array of R values.
            name: Name of the matrix.
            matrix: The weights.
            vector: Expression of an array of C values.
            comment: What the matrix is.

        """
        program = self.program
        rows, columns = matrix.shape
        program.multiply_adds += rows * columns
        if not program.quantize:
            self.call("multiply_add", out, program.constant(name, matrix, comment), vector, rows, columns)
            return
        integers, scales = quantize_rows(matrix.detach().cpu().numpy())
        program.constants.append(Constant(name, integers, f"{comment}, in units of the scale of its row"))
        scale = program.constant(f"{name}_scales", torch.from_numpy(scales), f"scale of each row of {name}")
        self.call("multiply_add_int8", out, name, scale, vector, rows, columns)
