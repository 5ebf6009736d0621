"""What the command line says about recordings, as the data module of a training understands it."""

from collections.abc import Sequence
from pathlib import Path

from vestim_pl.app.configuration import build
from vestim_pl.app.data_settings import compose_data
from vestim_pl.data import VoltageDataModule
from vestim_pl.data.preparation.settings import PreparationSettings
from vestim_pl.data.splits import SplitRules
from vestim_pl.settings.override import Override

__all__ = ["GivenData"]


class GivenData:
    """Settings for recordings, by the overrides of a command line and further ones.

    Args:
        root: Folder, or one recording.
        arguments: Overrides of the command line.

    Raises:
        ConfigurationError: If a setting is unknown or cannot be used.

    """

    def __init__(self, root: Path, arguments: Sequence[str]) -> None:
        self.root, self.arguments = root, tuple(arguments)
        self._known: dict[tuple[str, ...], PreparationSettings] = {}
        module = self._module(())
        self.rules: SplitRules = module.rules
        self._known[()] = module.preparation

    def settings(self, more: Sequence[Override]) -> PreparationSettings:
        """Return the settings with some more of them set."""
        key = tuple(map(str, more))
        if key not in self._known:
            self._known[key] = self._module(more).preparation
        return self._known[key]

    def _module(self, more: Sequence[Override]) -> VoltageDataModule:
        module: VoltageDataModule = build(compose_data(self.root, self.arguments, more))
        return module
