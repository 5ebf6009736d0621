"""Files that are damaged, of another kind, or malicious; always the same ones."""

import copy
import io
import os
import pickle
import random
import subprocess
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch

CANARY = "executed"
"""A malicious file that runs creates this in the working directory."""


class Call:
    """An object that pickles as a call of a function."""

    def __init__(self, function: Callable[..., Any], *arguments: Any) -> None:
        self.call = function, arguments

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return self.call


class State:
    """Pickles as an object whose state comes from a call."""

    def __reduce__(self) -> tuple[Any, ...]:
        return Call, (os.mkdir, CANARY), {"call": Call(os.mkdir, CANARY)}


GADGETS = {
    "os.system": lambda: Call(os.system, f"touch {CANARY}"),
    "os.mkdir": lambda: Call(os.mkdir, CANARY),
    "builtins.exec": lambda: Call(exec, f"import os; os.mkdir({CANARY!r})"),
    "builtins.eval": lambda: Call(eval, f"__import__('os').mkdir({CANARY!r})"),
    "builtins.open": lambda: Call(open, CANARY, "w"),
    "subprocess.Popen": lambda: Call(subprocess.Popen, ["touch", CANARY]),
    "getattr": lambda: Call(getattr, Path, "mkdir"),
    "Path.touch": lambda: Call(Path.touch, Path(CANARY)),
    "set of state": lambda: State(),
}
# Written by hand, because pickle would not write them.
OPCODES = {
    "GLOBAL": f"cos\nmkdir\n(S'{CANARY}'\ntR.".encode(),
    "INST": f"(S'{CANARY}'\nios\nmkdir\n.".encode(),
    "STACK_GLOBAL": b"\x80\x04\x8c\x02os\x8c\x05mkdir\x93\x8c\x08" + CANARY.encode() + b"\x85R.",
    "nested name": b"\x80\x04\x8c\x05torch\x8c\x11serialization.os.mkdir\x93\x8c\x08" + CANARY.encode() + b"\x85R.",
    "torch.load": b"ctorch\nload\n(S'other.pt'\ntR.",
    "vestim_pl": b"cvestim_pl.command\nos\n.",
    "EXT1": b"\x80\x02\x82\x01.",
    "no STOP": b"\x80\x02}",
    "empty stack": b"\x80\x02.",
    "unknown opcode": b"\x80\x02\xff.",
    "long text": b"\x80\x02X\xff\xff\xff\x7fabc.",
    "long number": b"\x80\x02\x8b\xff\xff\xff\x7f\x01.",
}


def raw_files(sound: Path, folder: Path) -> Iterator[tuple[str, Path]]:
    """Damage to a file as bytes, and files of other kinds."""
    whole, generator = sound.read_bytes(), random.Random(7)

    def file(name: str, content: bytes) -> tuple[str, Path]:
        path = folder / f"{name.replace(' ', '_').replace('/', '_')}{sound.suffix}"
        path.write_bytes(content)
        return name, path

    for length in (
        0,
        1,
        30,
        1000,
        len(whole) // 4,
        len(whole) // 2,
        9 * len(whole) // 10,
        len(whole) - 22,
        len(whole) - 1,
    ):
        yield file(f"cut to {length} bytes", whole[:length])
    for number, position in enumerate(_positions_of_data(sound, generator, 12)):
        flipped = bytearray(whole)
        flipped[position] ^= 1 << generator.randrange(8)
        yield file(f"flipped bit {number}", bytes(flipped))
    yield file("zeros in the middle", whole[: len(whole) // 2] + bytes(4096) + whole[len(whole) // 2 + 4096 :])
    yield file("random bytes", generator.randbytes(5000))
    yield file("text", b"# notes\n")
    yield file("safetensors", b"\x20\0\0\0\0\0\0\0" + b'{"weight":{"dtype":"F32"}}      ')
    yield file("onnx", b"\x08\x08\x12\x09vestim_pl")
    yield file("plain pickle", pickle.dumps({"state_dict": {}}))
    yield file("pickle that runs", pickle.dumps(Call(os.mkdir, CANARY)))
    for name, gadget in (("legacy torch", dict), ("legacy torch that runs", GADGETS["os.mkdir"])):
        content = io.BytesIO()
        torch.save(gadget(), content, _use_new_zipfile_serialization=False)
        yield file(name, content.getvalue())
    yield file("zip of others", _zip({"a.txt": b"a", "../../b.txt": b"b"}))
    yield file("zip without data", _zip({"archive/version": b"3\n"}))
    yield file("zip compressed", _zip({"archive/data.pkl": bytes(5_000_000)}, zipfile.ZIP_DEFLATED))
    for name, opcodes in OPCODES.items():
        yield file(f"pickle of {name}", _zip({"a/data.pkl": opcodes, "a/version": b"3\n", "a/byteorder": b"little"}))
    (folder / "folder").mkdir()
    yield "a folder", folder / "folder"
    os.mkfifo(folder / "pipe")
    yield "a pipe", folder / "pipe"
    yield "no file", folder / f"nowhere{sound.suffix}"


def contents_of_anything() -> Iterator[tuple[str, Any]]:
    """Contents of the wrong structure."""
    yield from {
        "a number": 3,
        "a list": [],
        "a tensor": torch.zeros(3),
        "an empty dictionary": {},
        "None": None,
    }.items()
    for name, gadget in GADGETS.items():
        yield f"{name} as content", gadget()
    looped: list[Any] = []
    looped.append(looped)
    laughs: list[Any] = []
    for _ in range(60):
        laughs = [laughs, laughs]
    deep: list[Any] = []
    for _ in range(200):
        deep = [deep]
    yield from {
        "a list in itself": {"a": looped},
        "a billion laughs": {"a": laughs},
        "a deep list": {"a": deep},
    }.items()


def changed(sound: dict[str, Any], *way: str, to: Any = None, without: bool = False) -> dict[str, Any]:
    """A copy of nested dictionaries with one entry changed or removed."""
    content = copy.deepcopy(sound)
    place = content
    for key in way[:-1]:
        place = place[key]
    if without:
        del place[way[-1]]
    else:
        place[way[-1]] = to
    return content


def save(contents: Iterator[tuple[str, Any]], folder: Path, suffix: str) -> Iterator[tuple[str, Path]]:
    """Write contents with torch."""
    for number, (name, content) in enumerate(contents):
        path = folder / f"content_{number}{suffix}"
        torch.save(content, path)
        yield name, path


def _positions_of_data(path: Path, generator: random.Random, count: int) -> list[int]:
    """Positions of bytes within the records of an archive, not in the names and padding between them."""
    with zipfile.ZipFile(path) as archive:
        records = [record for record in archive.infolist() if record.file_size]
        found = []
        for record in generator.sample(records, min(count, len(records))):
            with path.open("rb") as file:
                file.seek(record.header_offset + 26)
                lengths = int.from_bytes(file.read(2), "little") + int.from_bytes(file.read(2), "little")
            found.append(record.header_offset + 30 + lengths + generator.randrange(record.file_size))
    return found


def _zip(members: dict[str, bytes], compression: int = zipfile.ZIP_STORED) -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", compression) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return content.getvalue()
