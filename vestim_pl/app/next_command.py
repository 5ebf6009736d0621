"""Command lines that continue from a run: resume it, or test its best checkpoint."""

import re
from pathlib import Path

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from vestim_pl.settings.command_line import command_line

__all__ = ["evaluate_command", "resume_command"]

_OF_THE_DATA = re.compile(r"data(=|\.(?!features|rc_pairs|cold_factor|splits))")


def resume_command(checkpoint: Path) -> str:
    """Command line that resumes from a checkpoint with the settings of this run.

    It does not need the file of ``vestim=FILE``, whose settings are among the others, but it does need the folders of
    ``--config-dir``.
    """
    options: list[str] = []
    given: list[str] = []
    if HydraConfig.initialized():
        config = HydraConfig.get()
        folders = [source.path for source in config.runtime.config_sources if source.provider == "command-line"]
        options = [text for folder in folders for text in ("--config-dir", folder)]
        given = [o for o in config.overrides.task if not re.match(r"ckpt_path=|\+{0,2}vestim=", o)]
    return command_line("vestim_pl.train", *options, *given, f"ckpt_path={checkpoint}")


def evaluate_command(config: DictConfig, checkpoint: str) -> str | None:
    """Command line that makes the test of a training; None where no command line started it.

    Args:
        config: Its configuration.
        checkpoint: Its best checkpoint.

    """
    if not HydraConfig.initialized():
        return None
    sampling = [
        f"sampling.{key}={'null' if config.sampling[key] is None else config.sampling[key]}"
        for key in ("evaluation", "lookback", "horizon", "burn_in")
        if key in config.sampling
    ]
    data = [override for override in HydraConfig.get().overrides.task if _OF_THE_DATA.match(override)]
    return command_line("vestim_pl.evaluate", f"ckpt_path={checkpoint}", *data, *sampling)
