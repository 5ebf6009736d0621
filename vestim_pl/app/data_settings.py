"""Settings of recordings from ``data.*`` overrides alone, as a training would have them. Imports no torch."""

import shlex
from collections.abc import Sequence
from pathlib import Path

import hydra
from hydra.errors import HydraException
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from vestim_pl.app.conf_tree import conf_folder, flat_keys
from vestim_pl.app.early_check import check_targets
from vestim_pl.app.override_mistakes import explain
from vestim_pl.errors import ConfigurationError
from vestim_pl.settings.override import Override

__all__ = ["compose_data"]


def compose_data(root: Path, arguments: Sequence[str], more: Sequence[Override] = ()) -> DictConfig:
    """Compose the node ``data`` for a folder of recordings.

    Args:
        root: Folder, or one recording.
        arguments: Overrides of the command line.
        more: Further settings.

    Raises:
        ConfigurationError: If an override is no ``data.*`` setting, unknown, or of the wrong type.

    Example::

        >>> compose_data(Path("measured"), ["data.resample=1.0"]).resample
        1.0

    """
    for argument in arguments:
        if not argument.lstrip("+~").startswith("data."):
            raise ConfigurationError(
                f"{argument}: is no setting of the data; give overrides such as data.current_sign=discharge_positive"
            )
    given = [shlex.split(str(each))[0] for each in (Override("data.root", str(root)), *more)]
    with hydra.initialize_config_dir(str(conf_folder()), version_base="1.3"):
        try:
            config = hydra.compose("train", ["data=folder", *arguments, *given])
            check_targets("data", config.data)
        except HydraException as error:
            valid = list(flat_keys(hydra.compose("train", ["data=folder"])))
            raise ConfigurationError(explain(error, valid)) from error
        except OmegaConfBaseException as error:
            raise ConfigurationError(str(error).splitlines()[0]) from error
    return config.data
