"""The state of Python's global random generator, read every step without paying for it every step."""

import _random
import ctypes
import random
import sys
from typing import Any

__all__ = ["PythonState"]

_HEADER = object.__basicsize__
_WORDS = 625  # of the Mersenne Twister: the key and the position in it, four bytes each


class PythonState:
    """Reads ``random.getstate()``, and anew only where the generator has drawn since.

    Python makes an integer of each of the 625 words, which takes longer than copying the weights of a small network;
    nearly always nothing was drawn from one training step to the next. CPython keeps the words within the generator
    object, so equal bytes of it (and ``gauss_next``, the second of a pair of normal numbers) are the same state. Where
    that is not so, in another Python, the state is read anew each time.

    Example::

        >>> reader = PythonState()
        >>> first = reader.read()
        >>> reader.read() is first
        True
        >>> _ = random.random()
        >>> reader.read() is first
        False

    """

    def __init__(self) -> None:
        self._generator: Any = getattr(random.getstate, "__self__", None)
        size = _random.Random.__basicsize__ - _HEADER
        known = sys.implementation.name == "cpython" and isinstance(self._generator, random.Random)
        within = known and size >= 4 * _WORDS
        self._memory = (ctypes.c_char * size).from_address(id(self._generator) + _HEADER) if within else None
        self._seen: tuple[bytes, Any] | None = None
        self._state: Any = None

    def read(self) -> Any:
        """State as ``random.getstate()`` returns it."""
        if self._memory is None:
            return random.getstate()
        seen = self._memory.raw, self._generator.gauss_next
        if seen != self._seen:
            self._state, self._seen = random.getstate(), seen
        return self._state
