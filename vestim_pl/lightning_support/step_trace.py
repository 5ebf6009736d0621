"""Watch the tensors of one training step and keep the first non-finite value of each phase."""

from collections import deque
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from enum import StrEnum
from functools import partial
from typing import Any

from torch import Tensor, nn

from vestim_pl.functional.tensor_range import TensorRange, measure_range
from vestim_pl.lightning_support.tensors import named_tensors
from vestim_pl.lightning_support.unrolled_recurrence import RecurrentStep, unrolled, why_fused

__all__ = ["Finding", "Frame", "Phase", "StepTrace", "traced"]

GATES = {"LSTM": ("input", "forget", "cell", "output"), "GRU": ("reset", "update", "new")}


class Phase(StrEnum):
    """Phases of a step, in the order in which a fault can enter.

    Attributes:
        PARAMETER: Weights and optimizer state before the step.
        BATCH: Fields of the batch.
        FORWARD: Inputs and outputs of modules, and the time steps of recurrent layers.
        RECURRENT: Time steps of recurrent layers only. A bad batch reaches other modules first, and the time step
            would go unnamed.
        LOSS: The loss.
        BACKWARD: Gradients of the tensors of FORWARD.
        GRADIENT: Gradients of parameters.
        UPDATE: Weights and optimizer state after the step.

    """

    PARAMETER = "parameter"
    BATCH = "batch"
    FORWARD = "forward"
    RECURRENT = "recurrent"
    LOSS = "loss"
    BACKWARD = "backward"
    GRADIENT = "gradient"
    UPDATE = "update"


@dataclass(frozen=True)
class Frame:
    """One observed tensor.

    Attributes:
        phase: Phase of the step.
        name: Module, parameter or field of the batch.
        tensor: Which of its tensors: ``input``, ``output``, ``gate pre-activation``, ``hidden``, ``cell``, or the
            gradient of one of these.
        time: Time step within a recurrent layer, None elsewhere.
        range: Range of its values.

    """

    phase: Phase
    name: str
    tensor: str
    time: int | None
    range: TensorRange

    def as_dict(self) -> dict[str, Any]:
        """Convert for JSON."""
        return asdict(self) | {"phase": self.phase.value, "range": self.range.as_dict()}

    def __str__(self) -> str:
        time = "" if self.time is None else f", time step {self.time}"
        tensor = f", {self.tensor}" if self.tensor else ""
        return f"{self.phase} {self.name}{time}{tensor}: {self.range}"


@dataclass(frozen=True)
class Finding:
    """The first non-finite tensor of a phase, and the frames before it, oldest first."""

    frame: Frame
    history: list[Frame]

    def as_dict(self) -> dict[str, Any]:
        """Convert for JSON."""
        return {"frame": self.frame.as_dict(), "history": [frame.as_dict() for frame in self.history]}


class StepTrace:
    """Keep the last frames, and the first non-finite tensor of each phase.

    Args:
        ring: Number of frames kept.

    Attributes:
        findings: The first non-finite tensor by phase.
        notes: What could not be observed, one sentence each.

    Example::

        >>> import torch
        >>> trace = StepTrace()
        >>> trace.see(Phase.LOSS, "loss", torch.tensor(float("inf")))
        >>> print(trace.origin.frame)
        loss loss: nan .. nan, 1 non-finite, first inf at []

    """

    def __init__(self, ring: int = 20) -> None:
        self.findings: dict[Phase, Finding] = {}
        self.notes: list[str] = []
        self._ring: deque[Frame] = deque(maxlen=ring)

    @property
    def origin(self) -> Finding | None:
        """The finding of the earliest phase; None if everything was finite."""
        return next((self.findings[phase] for phase in Phase if phase in self.findings), None)

    def see(self, phase: Phase, name: str, value: Tensor, tensor: str = "", time: int | None = None) -> None:
        """Record the range of a floating tensor."""
        if not value.is_floating_point() or not value.numel():
            return
        frame = Frame(phase, name, tensor, time, measure_range(value))
        if frame.range.non_finite:
            finding = Finding(frame, list(self._ring))
            self.findings.setdefault(phase, finding)
            if phase is Phase.FORWARD and time is not None:
                self.findings.setdefault(Phase.RECURRENT, finding)
        self._ring.append(frame)

    def see_all(self, phase: Phase, value: Any, name: str = "", tensor: str = "") -> None:
        """Record the range of every tensor in a nested container."""
        for part, found in named_tensors(value, name):
            self.see(phase, part, found, tensor)

    def as_dict(self) -> dict[str, Any]:
        """Convert the findings by phase for JSON."""
        return {phase.value: finding.as_dict() for phase, finding in self.findings.items()}


@contextmanager
def traced(model: nn.Module, trace: StepTrace) -> Iterator[None]:
    """Record inputs and outputs of every submodule, forward and backward, and each time step of recurrent layers.

    A recurrent layer that cannot run step by step (see `why_fused`) is recorded as a whole, and a note says so. The
    infinities of an attention mask are recorded like any other.
    """
    watcher = _Watcher(model, trace)
    with ExitStack() as stack:
        stack.enter_context(unrolled(model, watcher.see_step))
        for path, module in model.named_modules():
            name = path or type(module).__name__
            before = module.register_forward_pre_hook(partial(watcher.see_inputs, name), with_kwargs=True)
            after = module.register_forward_hook(partial(watcher.see_outputs, name), with_kwargs=True)
            stack.callback(before.remove)
            stack.callback(after.remove)
        yield


class _Watcher:
    def __init__(self, model: nn.Module, trace: StepTrace) -> None:
        self.model, self.trace = model, trace

    def see_inputs(self, name: str, module: nn.Module, args: Any, kwargs: Any) -> None:
        values = (*args, *kwargs.values())
        if isinstance(module, nn.RNNBase):
            why = why_fused(module, values[0])
            if not why:
                return  # recorded step by step
            note = f"module {name} does not run step by step because {why}; no time step within it is named"
            self.trace.notes += [note] if note not in self.trace.notes else []
        for number, (_, value) in enumerate(named_tensors(values)):  # the second may be a state
            self.trace.see(Phase.FORWARD, name, value, f"input {number}" if number else "input")

    def see_outputs(self, name: str, module: nn.Module, args: Any, kwargs: Any, output: Any) -> None:
        stepwise = isinstance(module, nn.RNNBase) and not why_fused(module, (*args, *kwargs.values())[0])
        for _, value in named_tensors(output):
            if stepwise:  # its steps record their gradients; a hook may have changed this output since
                self.trace.see(Phase.FORWARD, name, value, "output")
            else:
                self._see(name, value, "output")

    def see_step(self, name: str, step: RecurrentStep) -> None:
        layer = name or type(self.model).__name__
        layer += f"[{step.layer}]" if step.layer else ""
        layer += " (backwards)" if step.reverse else ""
        self.trace.see(Phase.FORWARD, layer, step.input, "input", step.time)
        names = GATES.get(str(getattr(self.model.get_submodule(name), "mode", "")), ("",))
        for gate, part in zip(names, step.gates.chunk(len(names), dim=-1), strict=True):
            self.trace.see(Phase.FORWARD, layer, part, f"{gate} gate pre-activation".strip(), step.time)
        self._see_gradient(layer, step.gates, "gate pre-activation", step.time)
        if step.cell is not None:
            self._see(layer, step.cell, "cell", step.time)
        self._see(layer, step.hidden, "hidden", step.time)

    def _see(self, name: str, value: Tensor, tensor: str, time: int | None = None) -> None:
        self.trace.see(Phase.FORWARD, name, value, tensor, time)
        self._see_gradient(name, value, tensor, time)

    def _see_gradient(self, name: str, value: Tensor, tensor: str, time: int | None) -> None:
        if value.requires_grad:
            value.register_hook(lambda grad: self.trace.see(Phase.BACKWARD, name, grad, f"gradient of {tensor}", time))
