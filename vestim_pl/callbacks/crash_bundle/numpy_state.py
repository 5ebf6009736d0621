"""The state of numpy's global generator, read every step without paying for it every step."""

import ctypes
from typing import Any

import numpy as np

__all__ = ["NumpyState"]

_WORDS = 624
# numpy's mt19937_state: the key, and the position in it
_Memory = ctypes.c_char * (4 * _WORDS + ctypes.sizeof(ctypes.c_int))


class NumpyState:
    """Reads ``np.random.get_state()``, and anew only where the generator has drawn since.

    numpy puts its state together word by word, which takes longer than copying the weights of a small network; nearly
    always nothing was drawn from one training step to the next. Whether that is so is seen from the 2.5 kB in which the
    Mersenne Twister keeps its key and position. What is beside them, the second of a pair of normal numbers, can
    change without them only by being used up: a state that has one is not kept.

    Example::

        >>> import numpy as np
        >>> np.random.seed(0)  # no second of a pair of normal numbers is left over
        >>> reader = NumpyState()
        >>> first = reader.read()
        >>> reader.read() is first
        True
        >>> _ = np.random.rand()
        >>> reader.read() is first
        False

    """

    def __init__(self) -> None:
        self._generator: Any = None
        self._memory: Any = None  # of that generator; it stays where it is
        self._words = b""
        self._state: Any = None

    def read(self) -> Any:
        """State as ``np.random.get_state()`` returns it; not to be written to."""
        generator = np.random.get_bit_generator()  # type: ignore[attr-defined]
        if generator is not self._generator:
            twister = isinstance(generator, np.random.MT19937)
            self._memory = _Memory.from_address(generator.ctypes.state_address) if twister else None
            self._generator, self._words = generator, b""
        words = b"" if self._memory is None else self._memory.raw
        if not words or words != self._words:
            self._state = np.random.get_state()  # noqa: NPY002 - the global generator is the one in use
            self._words = words if self._state[3] == 0 else b""
        return self._state
