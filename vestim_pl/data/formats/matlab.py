"""Read the table in the variables of a MATLAB file."""

import mmap
import struct
import warnings
import zlib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from vestim_pl.data.columns import Columns
from vestim_pl.data.fixes import FixableError
from vestim_pl.data.formats.foreign import faults_as_one_line, needed
from vestim_pl.data.formats.quantities import columns_to_read, count_quantities, number_doubled
from vestim_pl.data.formats.raw_table import LEAVE_OUT, FileOptions, RawTable
from vestim_pl.data.formats.units import units_of_names
from vestim_pl.errors import DataError, printable
from vestim_pl.settings.override import Override

__all__ = ["read_matlab"]

_MOST_BYTES = 4 << 30
_MOST_TABLES = 20_000
_HEADER, _DEEPEST = 128, 40
_MATRIX, _PACKED = 14, 15
_TOP_KINDS = (_MATRIX, _PACKED)
_KINDS = (1, 2, 3, 4, 5, 6, 7, 9, 12, 13, 14, 16, 17, 18)
_PLAIN = "HDF5"
_Vectors = dict[str, Any]


def read_matlab(
    path: Path, label: str, options: FileOptions, wanted: Columns | None = None, extra: Sequence[str] = ()
) -> RawTable:
    """Read a MATLAB file of any version; the arguments are those of `read_table`.

    A table is a struct, or the variables of the file, with vectors of one length; or a Simulink structure with time,
    whose signals are named by their labels. ``data.sheet`` names one of several.
    """
    pymatreader = needed("pymatreader", "mat", label)
    with faults_as_one_line(label, "a MATLAB file"), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # objects of classes cannot be read; the vectors beside them can
        version = _check_size(path, label)
        content = _plain_hdf5(path) if version == _PLAIN else pymatreader.read_mat(path)
        content = {key: value for key, value in content.items() if not str(key).startswith("__")}
        place, vectors = _choose(content, label, options, wanted)
    names = number_doubled(list(vectors))
    units = units_of_names(names)
    chosen = columns_to_read(names, units, wanted, extra)
    values = dict(zip(names, vectors.values(), strict=True))
    frame = pd.DataFrame({name: pd.Series(values[name]) for name in chosen})
    return RawTable(frame, names, units, version, [f"Table in {place}."] if place else [])


def _choose(
    content: Mapping[str, Any], label: str, options: FileOptions, wanted: Columns | None
) -> tuple[str, _Vectors]:
    """Return the table with most quantities, and where it is."""
    tables = dict(_tables(content, "", options))
    if options.sheet is not None:
        if options.sheet not in tables:
            raise DataError(
                f"{label}: has no table {options.sheet!r}; set data.sheet to one of {_some(list(tables))}, {LEAVE_OUT}"
            )
        return options.sheet, tables[options.sheet]
    counts = {place: count_quantities(list(vectors), wanted) for place, vectors in tables.items()}
    most = max(counts.values(), default=0)
    best = [place for place, count in counts.items() if count == most]
    if most == 0 or (most == 1 and len(best) > 1):
        raise DataError(
            f"{label}: has no struct or variables with vectors of time, voltage and current of one length among "
            f"{_some(list(content))}; tables, timetables and timeseries are objects that only MATLAB reads, so save "
            f"their columns as vectors, {LEAVE_OUT}"
        )
    if len(best) > 1:
        choice = Override("data.sheet", best[0])
        raise FixableError(
            f"{label}: has {len(best)} tables with the same quantities ({_some(best)}); choose one, such as "
            f"{choice}, or save each as a file of its own, {LEAVE_OUT}",
            guesses=[choice],
        )
    return best[0], tables[best[0]]


def _tables(content: Any, place: str, options: FileOptions) -> Iterator[tuple[str, _Vectors]]:
    """Walk through structs and cells; yield each table with its place."""
    waiting: list[tuple[str, Any]] = [(place, content)]
    seen = 0
    while waiting and (seen := seen + 1) < _MOST_TABLES:
        place, content = waiting.pop(0)
        if isinstance(content, Mapping):
            for vectors in (_simulink(content), _vectors(content), _matrix(content, options.names)):
                if len(vectors) > 1:
                    yield place, vectors
                    break
            waiting += [
                (f"{place}.{key}" if place else str(key), value) for key, value in content.items() if _is_nested(value)
            ]
        elif isinstance(content, list):
            waiting += [
                (f"{place}({number})", value) for number, value in enumerate(content, start=1) if _is_nested(value)
            ]


def _is_nested(value: Any) -> bool:
    return isinstance(value, Mapping) or (
        isinstance(value, list) and any(isinstance(item, Mapping | list) for item in value)
    )


def _vectors(content: Mapping[str, Any]) -> _Vectors:
    """The vectors of the most frequent length."""
    vectors = {str(key): value for key, value in content.items() if _length(value) > 1}
    lengths = Counter(_length(value) for value in vectors.values())
    if not lengths:
        return {}
    length = max(lengths, key=lambda size: (lengths[size], size))
    return {key: value for key, value in vectors.items() if _length(value) == length}


def _simulink(content: Mapping[str, Any]) -> _Vectors:
    """The signals of a structure with time; of several variables with one time, the signals of all."""
    if isinstance(content.get("signals"), Mapping):
        return {"time": content["time"], **_signals(content, "")} if _length(content.get("time")) > 1 else {}
    logged = {key: value for key, value in content.items() if isinstance(value, Mapping) and _simulink_one(value)}
    times = [value["time"] for value in logged.values()]
    if len(logged) < 2 or not all(np.array_equal(time, times[0]) for time in times):
        return {}
    return {
        "time": times[0],
        **{name: signal for key, value in logged.items() for name, signal in _signals(value, key).items()},
    }


def _simulink_one(content: Mapping[str, Any]) -> bool:
    return isinstance(content.get("signals"), Mapping) and _length(content.get("time")) > 1


def _signals(content: Mapping[str, Any], variable: str) -> _Vectors:
    length, values, labels = _length(content["time"]), content["signals"].get("values"), content["signals"].get("label")
    if isinstance(values, np.ndarray) and values.ndim == 2 and len(values) == length:
        values = list(values.T)
    values = values if isinstance(values, list) else [values]
    labels = labels if isinstance(labels, list) else [labels] * len(values)
    named = {}
    for number, (signal, title) in enumerate(zip(values, labels, strict=False), start=1):
        if _length(signal) == length:
            own = (
                str(title).strip()
                if isinstance(title, str) and title.strip() and len(set(labels)) == len(values)
                else ""
            )
            named[own or (variable if variable and len(values) == 1 else f"{variable or 'signal'} {number}")] = signal
    return named


def _matrix(content: Mapping[str, Any], names: Sequence[str] | None) -> _Vectors:
    """The columns of the only matrix, where the user names them."""
    matrices = [value for value in content.values() if isinstance(value, np.ndarray) and value.ndim == 2]
    if names is None or len(matrices) != 1 or len(names) not in matrices[0].shape:
        return {}
    matrix = matrices[0] if matrices[0].shape[1] == len(names) else matrices[0].T
    return dict(zip(names, matrix.T, strict=True))


def _length(value: Any) -> int:
    if isinstance(value, np.ndarray):
        return len(value) if value.ndim == 1 else 0
    return len(value) if isinstance(value, list) and all(isinstance(item, str | bytes) for item in value) else 0


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - 8} more" if len(names) > 8 else ""
    return (", ".join(repr(printable(name[:40])) for name in names[:8]) or "none") + more


def _check_size(path: Path, label: str) -> str:
    """Return the version, and refuse a file whose variables are very large unpacked."""
    import h5py

    with path.open("rb") as file:
        named = file.read(6) == b"MATLAB"
    if h5py.is_hdf5(path):
        version = "MATLAB 7.3" if named else _PLAIN
        sizes: list[int] = []
        with h5py.File(path, "r") as file:
            file.visititems(lambda _, item: sizes.append(item.nbytes) if isinstance(item, h5py.Dataset) else None)
        size = sum(sizes)
    else:
        version, size = ("MATLAB 5", _unpacked_size(path)) if named else ("MATLAB 4", path.stat().st_size)
    if size > _MOST_BYTES:
        raise DataError(
            f"{label}: unpacks to {size / 2**30:.1f} GiB, more than a recording; save only its vectors, {LEAVE_OUT}"
        )
    return version


def _plain_hdf5(path: Path) -> dict[str, Any]:
    """The numbers of an HDF5 file that does not say that MATLAB wrote it."""
    import h5py

    def values(item: Any) -> Any:
        if isinstance(item, h5py.Dataset):
            return np.squeeze(item[()])
        return {name: values(item[name]) for name in item}

    with h5py.File(path, "r") as file:
        return dict(values(file))


def _unpacked_size(path: Path) -> int:
    """Bytes of all variables of a MATLAB 5 file when unpacked.

    Every tag is looked at, because scipy ends the process where a tag in a damaged file has no sense.
    """
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        order = "<" if content[126:128] == b"IM" else ">"
        return sum(_sizes(content, _HEADER, len(content), order, 0))


def _sizes(content: mmap.mmap, start: int, stop: int, order: str, depth: int) -> Iterator[int]:
    """Walk through the elements of a file or a variable, and yield their sizes; packed ones have their tag within."""
    while start + 8 <= stop:
        kind, size = struct.unpack(f"{order}II", content[start : start + 8])
        short = kind >> 16  # the data are within the tag
        kind, inner = kind & 0xFFFF, start + 8
        end = inner if short else inner + size
        if kind not in (_TOP_KINDS if depth == 0 else _KINDS) or short > 4 or end > stop or depth > _DEEPEST:
            raise ValueError(f"byte {start} is no element of a MATLAB file")
        if kind == _PACKED:
            tag = zlib.decompressobj().decompress(content[inner : min(end, inner + 1024)], 8)
            yield struct.unpack(f"{order}II", tag)[1] if len(tag) == 8 else size
        elif kind == _MATRIX and depth < _DEEPEST:
            yield size if depth == 0 else 0
            yield from _sizes(content, inner, end, order, depth + 1)
        start = end if kind == _PACKED else inner + (0 if short else -(-size // 8) * 8)
