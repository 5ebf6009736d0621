"""Refuse arguments of Lightning's Trainer that the commands cannot use, before anything heavy is imported."""

from collections.abc import Mapping
from typing import Any

from vestim_pl.errors import ConfigurationError
from vestim_pl.settings.override import Override, command_text

__all__ = ["check_trainer_arguments"]

# Arguments that the commands set themselves, or that have no meaning for them, with what to use instead.
_NOT_HERE = {
    "logger": "loggers are the group logger; leave this out, and use logger.csv=null for no log of the metrics",
    "callbacks": "callbacks are the group callbacks; leave this out, and use callbacks=[default,warmup] to add one",
    "limit_predict_batches": "no command predicts with the trainer; leave it out",
}


def check_trainer_arguments(options: Mapping[str, Any], callbacks: Mapping[str, Any]) -> None:
    """Refuse arguments that would fail within the training, or train, validate or test nothing.

    Args:
        options: The node ``trainer``, resolved; its types are checked by others.
        callbacks: The nodes of ``callbacks``, by name.

    Raises:
        ConfigurationError: With the argument, and what to use instead.

    Example::

        >>> check_trainer_arguments({"max_epochs": 0}, {})
        Traceback (most recent call last):
        ...
        vestim_pl.errors.ConfigurationError: trainer.max_epochs: 0 trains nothing; choose at least 1, or -1 for no limit

    """
    for name in options:
        if name in _NOT_HERE:
            raise ConfigurationError(f"trainer.{name}: {_NOT_HERE[name]}")
    if options.get("barebones") is True:
        raise ConfigurationError(
            "trainer.barebones: true leaves out checkpoints, logs and all callbacks, guards included; leave it out"
        )
    for name, instead in (
        ("max_epochs", "choose at least 1, or -1 for no limit"),
        ("max_steps", "choose at least 1, or -1 for no limit"),
        ("limit_train_batches", "choose at least 1, or a part such as 0.1"),
    ):
        if _is_zero(options.get(name)):
            raise ConfigurationError(f"trainer.{name}: {options[name]} trains nothing; {instead}")
    if _is_zero(options.get("limit_test_batches")):
        raise ConfigurationError("trainer.limit_test_batches: 0 tests nothing; leave it out and use test=false")
    if _is_zero(options.get("limit_val_batches")):
        _refuse_without_validation(callbacks)
    _check_ranges(options)


def _is_zero(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and value == 0


def _refuse_without_validation(callbacks: Mapping[str, Any]) -> None:
    """Refuse a training without a validation if a callback needs its metric."""
    needing = [
        name
        for name, node in callbacks.items()
        if isinstance(node, Mapping) and str(node.get("monitor")).startswith("val/")
    ]
    if needing:
        without = command_text([Override(f"callbacks.{name}", None) for name in needing])
        raise ConfigurationError(
            f"trainer.limit_val_batches: 0 leaves out the validation, whose errors {', '.join(needing)} of callbacks"
            f" need; choose at least 1, or train without them and without a best checkpoint: {without}"
        )


def _check_ranges(options: Mapping[str, Any]) -> None:
    """Refuse values that Lightning accepts and then fails on, or silently ignores."""
    for name, instead in (
        ("accumulate_grad_batches", "use 1 for none"),
        ("log_every_n_steps", "choose for example 50"),
    ):
        value = options.get(name, 1)
        if isinstance(value, int) and value < 1:
            raise ConfigurationError(f"trainer.{name}: {value} is not positive; {instead}")
    limit = options.get("gradient_clip_val")
    if isinstance(limit, int | float) and limit < 0:
        raise ConfigurationError(f"trainer.gradient_clip_val: {limit} is negative; use null for no clipping")
