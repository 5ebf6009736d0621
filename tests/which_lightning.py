"""Lightning's classes from the package that ``VESTIM_LIGHTNING`` names, so that the same tests run with both.

``lightning.pytorch`` (the default) and ``pytorch_lightning`` are two copies of the same code with different classes.
The callbacks of vestim_pl always derive from ``lightning.pytorch``; with ``pytorch_lightning`` the module, the trainer
and the other callbacks come from the other package, as in the project of a user who never changed the import.
"""

import importlib
import os

PACKAGE = os.environ.get("VESTIM_LIGHTNING", "lightning.pytorch")
pl = importlib.import_module(PACKAGE)

Callback, LightningModule, Trainer = pl.Callback, pl.LightningModule, pl.Trainer
Checkpoint, EarlyStopping, ModelCheckpoint = (
    pl.callbacks.Checkpoint,
    pl.callbacks.EarlyStopping,
    pl.callbacks.ModelCheckpoint,
)
CSVLogger, DDPStrategy, MixedPrecision = pl.loggers.CSVLogger, pl.strategies.DDPStrategy, pl.plugins.MixedPrecision
