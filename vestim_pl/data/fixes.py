"""Errors about a file that settings fix, with these settings as values."""

from collections.abc import Sequence

from vestim_pl.errors import DataError
from vestim_pl.settings.override import Override

__all__ = ["FixableError"]


class FixableError(DataError):
    """A file cannot be used as it is, but can be with settings, which the message has in words too.

    Args:
        message: One line with the file, what was found, and the settings.
        fixes: Settings that follow from what was found.
        guesses: Settings that the user has to check, because the file does not show their value.

    Example::

        >>> FixableError("a.csv: SOC is up to 90", [Override("data.units.soc", "%")]).settings
        (Override(key='data.units.soc', value='%', added=False),)

    """

    def __init__(self, message: str, fixes: Sequence[Override] = (), guesses: Sequence[Override] = ()) -> None:
        super().__init__(message)
        self.fixes, self.guesses = tuple(fixes), tuple(guesses)

    @property
    def settings(self) -> tuple[Override, ...]:
        """Fixes and guesses."""
        return self.fixes + self.guesses
