"""Write the commands that follow a run: resume it, or test its best checkpoint."""

from pathlib import Path

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from vestim_pl.settings.command_line import command_line
from vestim_pl.settings.override import Override, overridden_key

__all__ = ["evaluate_command", "resume_command"]

_NOT_FOR_EVALUATE = ("data.features", "data.rc_pairs", "data.cold_factor", "data.splits")  # in the checkpoint, or fixed


def resume_command(checkpoint: Path) -> str:
    """Write the command that resumes from a checkpoint with the settings of this run.

    It does not need the file of ``vestim=FILE``, whose settings are among the others, but it does need the folders of
    ``--config-dir``.
    """
    options: list[str] = []
    given: list[str] = []
    if HydraConfig.initialized():
        config = HydraConfig.get()
        folders = [source.path for source in config.runtime.config_sources if source.provider == "command-line"]
        options = [text for folder in folders for text in ("--config-dir", folder)]
        given = [each for each in config.overrides.task if overridden_key(each) not in ("ckpt_path", "vestim")]
    return command_line("vestim_pl.train", *options, *given, Override("ckpt_path", str(checkpoint)).argument)


def evaluate_command(config: DictConfig, checkpoint: str) -> str | None:
    """Write the command that repeats the test of a training; None where no command line started it.

    Args:
        config: Its configuration.
        checkpoint: Its best checkpoint.

    """
    if not HydraConfig.initialized():
        return None
    sampling = [
        Override(f"sampling.{key}", config.sampling[key]).argument
        for key in ("evaluation", "lookback", "horizon", "burn_in")
        if key in config.sampling
    ]
    data = [each for each in HydraConfig.get().overrides.task if _is_for_evaluate(overridden_key(each))]
    return command_line("vestim_pl.evaluate", Override("ckpt_path", checkpoint).argument, *data, *sampling)


def _is_for_evaluate(key: str) -> bool:
    return key == "data" or (key.startswith("data.") and not key.startswith(_NOT_FOR_EVALUATE))
