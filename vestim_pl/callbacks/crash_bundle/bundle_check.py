"""Whether a crash bundle holds what a replay takes from it."""

from typing import Any

from pydantic import ConfigDict, TypeAdapter, ValidationError
from torch import Tensor
from typing_extensions import TypedDict  # pydantic takes the one of typing from Python 3.12 on

from vestim_pl.lightning_support.tensor_archive import UnusableFileError

__all__ = ["check_bundle"]

_Plain = dict[str, Any]  # what vestim_pl.callbacks.crash_bundle.plain_data.to_plain makes of a container

_Module = TypedDict(
    "_Module",
    {
        "class": str,
        "initial": _Plain,
        "hparams": _Plain,
        "argument": str | None,
        "eval": list[str],
        "frozen": list[str],
    },
)
_Optimizer = TypedDict("_Optimizer", {"class": str, "groups": list[_Plain], "state": _Plain})


class _Trainer(TypedDict):
    """Arguments for a trainer: no others, for a trainer takes many that a file has no business to set."""

    __pydantic_config__ = ConfigDict(extra="forbid")  # type: ignore[misc]

    epoch: int
    step: int
    batches: int | float
    max_epochs: int | None
    max_steps: int
    accumulate_grad_batches: int


class _Summary(TypedDict):
    epoch: int
    batches: list[int]
    reason: str
    finding: str
    findings: _Plain
    recordings: list[_Plain]


class _Bundle(TypedDict):
    __pydantic_config__ = ConfigDict(arbitrary_types_allowed=True)  # type: ignore[misc]

    summary: _Summary
    module: _Module
    trainer: _Trainer
    parameters: dict[str, Tensor]
    buffers: dict[str, Tensor]
    extras: _Plain
    optimizer: _Optimizer
    batches: list[Any]
    indices: list[int]
    random: list[_Plain]
    precision: str
    loss_scale: float | None
    applied: dict[str, Tensor] | None


_BUNDLE = TypeAdapter(_Bundle)


def check_bundle(bundle: dict[str, Any]) -> None:
    """Refuse a bundle in which something is missing or of another type.

    Args:
        bundle: The content of the file.

    Raises:
        UnusableFileError: With the first entry that is wrong.

    Example::

        >>> check_bundle({"summary": {"epoch": "nought"}})
        Traceback (most recent call last):
        ...
        vestim_pl.lightning_support.tensor_archive.UnusableFileError: is damaged: its summary.epoch should be a valid
        integer

    """
    try:
        _BUNDLE.validate_python(bundle, strict=True)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where, what = ".".join(map(str, first["loc"])), first["msg"].removeprefix("Input ")
        text = f"{where} is missing" if first["type"] == "missing" else f"{where} {what[:1].lower()}{what[1:]}"
        raise UnusableFileError(f"is damaged: its {text:.200}") from None
    counts = {name: len(bundle[name]) for name in ("batches", "indices", "random")}
    if len(set(counts.values())) > 1 or not bundle["summary"]["batches"]:
        found = ", ".join(f"{count} {name}" for name, count in counts.items())
        raise UnusableFileError(f"is damaged: its step has {found}, which must be as many")
