"""Read a crash bundle without running anything, and check what a replay needs from it."""

from pathlib import Path
from typing import Any

from pydantic import ConfigDict, TypeAdapter, ValidationError
from torch import Tensor
from typing_extensions import TypedDict  # pydantic accepts the one from typing only from Python 3.12 on

from vestim_pl.callbacks.crash_bundle.writing import FORMAT
from vestim_pl.errors import ConfigurationError, printable
from vestim_pl.lightning_support.untrusted_files import UnusableFileError, read_archive

__all__ = ["check_bundle", "read_bundle"]

_GIVE = "give the .pt file of a crash bundle"
_Plain = dict[str, Any]

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
    """Arguments for a trainer; others are refused, because a file must not set a folder or a plugin."""

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


def read_bundle(path: Path) -> dict[str, Any]:
    """Read a bundle; refuse a file that is damaged or that would run code when loaded.

    Raises:
        ConfigurationError: If the file is not a whole bundle of this format; `replay_bundle` checks its content.

    """
    try:
        bundle = read_archive(path, "crash bundle", _GIVE)
        found = bundle.get("format") if isinstance(bundle, dict) else None
        if found != FORMAT:
            raise UnusableFileError(f"has format {found!s:.40} instead of {FORMAT}; {_GIVE} of this version")
    except UnusableFileError as fault:
        raise ConfigurationError(f"{path}: {printable(str(fault))}") from None
    except OSError as error:
        raise ConfigurationError(f"{path}: cannot be read: {error.strerror or error}") from None
    return dict(bundle)


def check_bundle(bundle: dict[str, Any]) -> None:
    """Refuse a bundle in which an entry is missing or has the wrong type.

    Raises:
        UnusableFileError: With the first wrong entry.

    Example::

        >>> check_bundle({"summary": {"epoch": "nought"}})
        Traceback (most recent call last):
        ...
        vestim_pl.lightning_support.untrusted_files.UnusableFileError: is damaged: its summary.epoch should be a valid
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
        raise UnusableFileError(f"is damaged: its step has {found}, and the numbers must be equal")
