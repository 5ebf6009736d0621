"""Write names, numbers and text of a checkpoint so that they are safe in C source."""

import re
import unicodedata
from collections.abc import Iterable

import numpy as np

from vestim_pl.errors import ConfigurationError

__all__ = ["check_prefix", "comment_text", "identifiers", "number", "string_literal"]

# Keywords of C and C++, whose compilers read the header too, and names that the standard headers take.
_TAKEN = frozenset(
    """
    auto break case char const continue default do double else enum extern float for goto if inline int long register
    restrict return short signed sizeof static struct switch typedef union unsigned void volatile while
    alignas alignof and asm bool catch class constexpr delete explicit export false friend mutable namespace new not
    nullptr operator or private protected public static_assert template this thread_local throw true try typeid
    typename using virtual xor errno signbit isfinite isnan complex imaginary
    main math stdint stdio stdlib string
    """.split()  # noqa: SIM905 - a list of 75 literals would be harder to read
)


def identifiers(names: Iterable[str]) -> list[str]:
    """Turn column names into different C identifiers in lower case.

    Args:
        names: Any text.

    Example::

        >>> identifiers(["Current [A]", "current (A)", "2nd Température", "温度", "float"])
        ['current_a', 'current_a_2', 'feature_2nd_temperature', 'feature_4', 'float_value']

    """
    found: list[str] = []
    for position, name in enumerate(names, 1):
        ascii_name = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode()
        base = re.sub(r"[^a-z0-9]+", "_", ascii_name.lower()).strip("_") or f"feature_{position}"
        if base[0].isdigit():
            base = f"feature_{base}"
        base = f"{base}_value" if base in _TAKEN else base
        unique, count = base, 1
        while unique in found:
            count += 1
            unique = f"{base}_{count}"
        found.append(unique)
    return found


def check_prefix(name: str) -> str:
    """Return a prefix of all generated names if it is a C identifier.

    Raises:
        ConfigurationError: If it is not.

    Example::

        >>> check_prefix("2cells")
        Traceback (most recent call last):
        ...
        vestim_pl.errors.ConfigurationError: name: '2cells' is no C identifier in lower case; use for example
        name=cell_voltage

    """
    if not re.fullmatch(r"[a-z][a-z0-9_]{0,30}", name) or name in _TAKEN:
        raise ConfigurationError(f"name: {name!r} is no C identifier in lower case; use for example name=cell_voltage")
    return name


def number(value: float) -> str:
    """Write a float32 number so that a C compiler reads the same number.

    Example::

        >>> number(0.1), number(-2.0), number(1e-20)
        ('0.100000001f', '-2.0f', '9.99999968e-21f')

    """
    text = f"{float(np.float32(value)):.9g}"
    return f"{text}f" if "." in text or "e" in text else f"{text}.0f"


def comment_text(text: str) -> str:
    r"""Write any text in ASCII, in one line, so that it cannot end a comment.

    Example::

        >>> comment_text("Temp °C */ ??/")
        'Temp \\xb0C * / ? ?/ '
        >>> comment_text("U [V]")
        'U [V]'

    """
    safe = text.encode("ascii", "backslashreplace").decode()
    safe = "".join(character if character.isprintable() else " " for character in safe)
    safe = safe.replace("*/", "* /").replace("/*", "/ *").replace("??", "? ?")  # ??/ is a backslash
    return f"{safe} " if safe.endswith(("\\", "/", "*")) else safe


def string_literal(text: str) -> str:
    r"""Write any text as a C string of its UTF-8 bytes.

    Example::

        >>> print(string_literal('U "°C" ??='))
        "U \"\302\260C\" \?\?="

    """
    escaped = "".join(
        f"\\{chr(byte)}" if chr(byte) in '"\\?' else chr(byte) if 32 <= byte < 127 else f"\\{byte:03o}"
        for byte in text.encode("utf-8", "surrogateescape")
    )
    return f'"{escaped}"'
