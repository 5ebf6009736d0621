"""What Lightning keeps about the hyperparameters of a module."""

import sys
from typing import Any

from lightning.pytorch import LightningModule

__all__ = ["hyperparameters_argument", "is_omegaconf"]


def is_omegaconf(value: Any) -> bool:
    """Whether a value is a container of OmegaConf.

    The callbacks do not import OmegaConf. A process that never imported it holds none of its containers.

    Example::

        >>> from omegaconf import OmegaConf
        >>> is_omegaconf(OmegaConf.create({"a": 1})), is_omegaconf({"a": 1})
        (True, False)

    """
    omegaconf = sys.modules.get("omegaconf")
    return omegaconf is not None and isinstance(value, omegaconf.Container)


def hyperparameters_argument(module: LightningModule) -> str | None:
    """Name of the one ``__init__`` argument that holds all hyperparameters; None where each has its own argument.

    ``save_hyperparameters(config)`` remembers the name in ``_hparams_name``, and Lightning has no public way to read
    it. Tested with lightning 2.6.6.

    Example::

        >>> hyperparameters_argument(LightningModule()) is None
        True

    """
    return getattr(module, "_hparams_name", None)
