"""A callback with a bug."""

from typing import Any

from lightning.pytorch import Callback


class Failing(Callback):
    """Raises in the first batch."""

    def on_train_batch_start(self, *arguments: Any) -> None:
        raise RuntimeError("no such luck")
