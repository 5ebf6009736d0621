"""Lightning data module: from a folder of recordings to batches."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import torch
from lightning.pytorch import LightningDataModule

from vestim_pl.data.batches import evaluation_batches, training_batches
from vestim_pl.data.columns import Columns
from vestim_pl.data.formats.raw_table import FileOptions
from vestim_pl.data.loader import ResumableLoader
from vestim_pl.data.mapped import mapped_tables
from vestim_pl.data.preparation.derived import names_in
from vestim_pl.data.preparation.meaning.agreement import interval_problem
from vestim_pl.data.preparation.settings import DEFAULT_STEPS, PreparationSettings
from vestim_pl.data.preparation.state_of_charge import SocSource
from vestim_pl.data.preparation.units import Units
from vestim_pl.data.recording_table import RecordingTable
from vestim_pl.data.split_reader import Reading, SplitReader, demo_folder
from vestim_pl.data.splits import SplitRules
from vestim_pl.data.storage import check_storage, fits_on
from vestim_pl.data.stream_sampling import StreamSampling
from vestim_pl.data.window_sampling import WindowSampling
from vestim_pl.errors import ConfigurationError
from vestim_pl.functional.sequence_batch import SequenceBatch
from vestim_pl.lightning_support.loop_progress import finished_batches
from vestim_pl.networks import RCPairs
from vestim_pl.settings.checks import check_choice

__all__ = ["VoltageDataModule"]

Loader = ResumableLoader[Any, SequenceBatch]
_log = logging.getLogger("vestim_pl")


class VoltageDataModule(LightningDataModule):
    """Read, prepare and check the recordings of ``train/``, ``val/`` and ``test/``, keep them once, and sample batches.

    The samplers divide the data among the trainer's ranks, and a resumed run gets exactly the next batch.

    Args:
        root: Folder with the splits' subfolders, or of recordings that ``split`` divides; None or ``demo`` for the
            embedded recordings.
        sampling: Windows or streams, with their settings; windows by default.
        features: Input columns, in this order; by default state of charge, current, temperature.
        columns: Column of each quantity in the files.
        split: Recordings of each split by name or date; subfolders by default.
        csv: How text files are written, where their content does not show it.
        sheet: Sheet of a workbook that has the table.
        date_order: Order of day and month in dates, ``day_first`` or ``month_first``.
        units: Unit of each quantity.
        current_sign: ``charge_positive`` or ``discharge_positive``; ``auto`` expects the first, and refuses the other.
        checks: ``refuse``, ``warn`` or ``off``: what happens where values cannot mean what they should.
        cells_in_series: Cells of a pack whose voltage the files have; None for one cell.
        prepare: Preparation steps, in order.
        twin_times: Whether the last of rows with the same time is kept; else such files are refused.
        max_gap: Longest interval in seconds that is no gap; None for ten usual intervals.
        soc: How the state of charge is counted where a file has none.
        temperature: Temperature where a file has none: degC, ``name``, or a pattern for its path.
        trim_rest: Seconds of rest that stay before the first load; None for all.
        resample: Seconds between rows; None leaves the rows as they are.
        derived: Formula by the name of the feature that it computes.
        on_bad_file: ``raise`` stops and names all bad files; ``skip`` leaves each out, with a warning.
        storage: Where the rows are: ``memory``; ``device``, the training device; ``mapped``, an Arrow file for
            recordings larger than memory; ``auto`` is the training device if they fit there, else memory.
        cache: Folder for the Arrow files of ``storage: mapped``.
        num_workers: Processes that prepare batches ahead; None means 2 if batches are copied to a GPU, else 0.
        seed: Seed of the order and the chunk borders, combined with the epoch.
        rc_pairs: Time constants in seconds, at 25 degC, of the `RCPairs` whose voltages follow the features in each
        row;
            empty for none.
        cold_factor: ``cold_factor`` of these pairs.
        splits: Required splits, some of ``train``, ``val`` and ``test``.
        trained: Preparation of a checkpoint, applied again except where a setting above is not its default.
        trained_pairs: RC pairs of that checkpoint.

    Attributes:
        preparation: How the files are prepared; after ``setup`` with the interval that was found.

    Raises:
        ConfigurationError: If a setting is unknown, or contradicts another one.
        DataError: From ``setup``; names all unusable files.

    Example::

        >>> module = VoltageDataModule(root="measurements", sampling=WindowSampling(lookback=400), resample=1.0)
        >>> module.features
        ('SOC', 'Current', 'Temp')

    """

    def __init__(
        self,
        root: str | Path | None = None,
        sampling: WindowSampling | StreamSampling | None = None,
        features: Sequence[str] | None = None,
        columns: Columns | None = None,
        *,
        split: SplitRules | None = None,
        csv: FileOptions | None = None,
        sheet: str | None = None,
        date_order: Literal["day_first", "month_first"] | None = None,
        units: Units | None = None,
        current_sign: Literal["auto", "charge_positive", "discharge_positive"] = "auto",
        checks: Literal["refuse", "warn", "off"] = "refuse",
        cells_in_series: int | None = None,
        prepare: Sequence[str] = DEFAULT_STEPS,
        twin_times: bool = True,
        max_gap: float | None = None,
        soc: SocSource | None = None,
        temperature: float | str | None = None,
        trim_rest: float | None = None,
        resample: float | None = None,
        derived: Mapping[str, str] | None = None,
        on_bad_file: Literal["raise", "skip"] = "raise",
        storage: Literal["auto", "memory", "device", "mapped"] = "auto",
        cache: str | Path | None = None,
        num_workers: int | None = None,
        seed: int = 0,
        rc_pairs: Sequence[float] = (),
        cold_factor: float = 0.04,
        splits: Sequence[str] = ("train", "val", "test"),
        trained: PreparationSettings | None = None,
        trained_pairs: RCPairs | None = None,
    ) -> None:
        super().__init__()
        self.sampling = WindowSampling() if sampling is None else sampling
        if features is not None and not len(features):
            raise ConfigurationError("data.features: no column is named; name at least one")
        own = PreparationSettings(
            features=tuple(features or ()),
            columns=columns or Columns(),
            files=replace(csv or FileOptions(), sheet=sheet, date_order=date_order),
            units=units or Units(),
            current_sign=current_sign,
            checks=checks,
            cells_in_series=cells_in_series,
            prepare=tuple(prepare),
            twin_times=twin_times,
            max_gap=max_gap,
            soc=soc or SocSource(),
            temperature=temperature,
            trim_rest=trim_rest,
            resample=resample,
            derived=dict(derived or {}),
        )
        self.preparation = own if trained is None else trained.overridden_by(own)
        self.root = demo_folder() if root is None or str(root) == "demo" else Path(root).expanduser()
        self.rules = split or SplitRules()
        self.on_bad_file = on_bad_file
        self.storage = storage
        self.cache = None if cache is None else Path(cache).expanduser()
        self.num_workers = num_workers
        self.seed = seed
        self.splits = tuple(splits)
        self._rc_seconds = tuple(rc_pairs)
        self._cold_factor = cold_factor
        self._trained_pairs = trained_pairs
        self._found = Reading()
        self._tables: dict[str, RecordingTable] = {}
        self._placed: dict[str, RecordingTable] = {}
        self._train_loader: Loader | None = None
        self._train_state: dict[str, int] | None = None
        self._check()

    @property
    def columns(self) -> Columns:
        """Column of each quantity in the files."""
        return self.preparation.columns

    @property
    def features(self) -> tuple[str, ...]:
        """Input columns, in order."""
        return self.preparation.features

    @property
    def skipped(self) -> dict[str, str]:
        """Files that were left out, with the reasons."""
        return self._found.skipped

    @property
    def assumptions(self) -> dict[str, Any]:
        """What was found and assumed while the files were read, and the settings of their preparation."""
        return {**self._found.to_dict(), "preparation": self.preparation.to_dict()}

    @property
    def interval(self) -> float | None:
        """Seconds between rows, the same in all recordings; None before ``setup``."""
        return self.preparation.interval

    @property
    def rc_pairs(self) -> RCPairs | None:
        """RC pairs whose voltages follow the features in each row, for the interval of the rows."""
        return self._pairs_of(self.interval)

    def _pairs_of(self, interval: float | None) -> RCPairs | None:
        """Build the RC pairs, whose time constants are in seconds here and in rows there."""
        if self._trained_pairs is not None or not self._rc_seconds:
            return self._trained_pairs
        roles = {role: name for name, role in self.preparation.feature_roles.items()}
        names = {role: roles.get(role, getattr(self.columns, role)) for role in ("current", "temperature")}
        rows = [seconds / (interval or 1.0) for seconds in self._rc_seconds]
        return RCPairs(self.features, rows, self._cold_factor, **names)

    def _check(self) -> None:
        for split in self.splits:
            check_choice("data.splits", split, ("train", "val", "test"))
        check_choice("data.on_bad_file", self.on_bad_file, ("raise", "skip"))
        check_storage(self.storage, self.cache, self.num_workers)
        self._pairs_of(None)
        for name in self.features:
            if self.features.count(name) > 1:
                raise ConfigurationError(f"data.features: {name!r} is named twice; name it once")
        if self.sampling.horizon == 0:
            self._refuse_target()

    def _refuse_target(self) -> None:
        """Refuse the voltage as an input, also within a formula, where it is estimated from the same row."""
        name = next((name for name, role in self.preparation.feature_roles.items() if role == "voltage"), None)
        setting, found = "data.features", f"{name!r} is"
        if name is None and "voltage" in names_in(self.preparation.derived):
            setting, found = "data.derived", "a formula has"
        elif name is None:
            return
        raise ConfigurationError(
            f"{setting}: {found} the voltage to estimate, from the same row; leave it out, or set sampling.horizon "
            "to 1 "
            "or more"
        )

    def prepare_data(self) -> None:
        """Write the files of ``storage: mapped`` in one process, before the others open them."""
        if self.storage == "mapped":
            self.setup()

    def setup(self, stage: str | None = None) -> None:
        """Read and check all splits, once."""
        if self._tables:
            return
        reader = SplitReader(
            self.root,
            self.preparation,
            self.rules,
            self.sampling.minimum_rows,
            self.sampling.minimum_reason,
            skip=self.on_bad_file == "skip",
            pairs_of=self._pairs_of,
        )
        if self.cache is not None and self.storage == "mapped":
            self._tables, self._found = mapped_tables(reader, self.splits, self.cache)
        else:
            self._tables, self._found = reader.read(self.splits), reader.found
        self.preparation = replace(self.preparation, interval=self._found.interval)
        for warning in self._found.warnings:
            _log.warning("%s", warning)

    def teardown(self, stage: str | None = None) -> None:
        """Free the device; rows in memory stay for the next stage."""
        self._placed.clear()

    def table(self, split: str) -> RecordingTable:
        """Return the rows of a split, on the CPU.

        Raises:
            ConfigurationError: If there is no such split.

        """
        if not self._tables:
            self.setup()
        if split not in self._tables:
            raise ConfigurationError(f"data.splits: {split!r} is not among {', '.join(self._tables)}")
        return self._tables[split]

    def train_dataloader(self) -> Loader:
        shuffle = not getattr(self.trainer, "overfit_batches", 0)
        loader = self._loader(
            *training_batches(self._place("train"), self.sampling, shuffle=shuffle, seed=self.seed, **self._ranks)
        )
        if self._train_state is not None:
            loader.load_state_dict(self._train_state)
        self._train_state, self._train_loader = None, loader
        return loader

    def val_dataloader(self) -> Loader:
        return self.evaluation_dataloader("val")

    def test_dataloader(self) -> Loader:
        return self.evaluation_dataloader("test")

    def predict_dataloader(self) -> Loader:
        return self.evaluation_dataloader("test")

    def evaluation_dataloader(self, split: str) -> Loader:
        """Return the loader of a split for evaluation, with the same batches every time."""
        return self._loader(*evaluation_batches(self._place(split), self.sampling, **self._ranks))

    def transfer_batch_to_device(self, batch: Any, device: torch.device, dataloader_idx: int) -> Any:
        if isinstance(batch, SequenceBatch) and batch.inputs.device == device:
            return batch  # Lightning would walk through the batch, which costs as much as gathering it
        return super().transfer_batch_to_device(batch, device, dataloader_idx)

    def locate(self, batch: SequenceBatch, split: str | None = None) -> list[dict[str, Any]]:
        """Return where each lane of a batch comes from, as plain values for a message or a file.

        Args:
            batch: A batch of this data module.
            split: Split of the batch; by default that of the trainer's current stage.

        Returns:
            One dictionary a lane: ``recording`` (None in an empty lane), ``start_row`` and ``end_row`` in it,
            ``start_time`` and ``end_time`` in seconds.

        """
        table = self.table(split or self._stage_split)
        return [table.span(start, batch.inputs.shape[1]) for start in batch.first_row.tolist()]

    def describe(self) -> str:
        """Return the recordings, rows, hours and interval of each split, and what was assumed, for the terminal."""
        lines = [f"{'split':<8}{'files':>6}{'rows':>12}{'hours':>8}{'interval':>11}"]
        for split in self.splits:
            table = self.table(split)
            interval = "" if self.interval is None else f"{self.interval:.4g} s"
            lines.append(f"{split:<8}{len(table.names):>6}{table.rows:>12,}{table.hours:>8.1f}{interval:>11}")
        lines += self._found.notes
        if self.skipped:
            lines.append(f"left out: {', '.join(self.skipped)}")
        return "\n".join(lines)

    def state_dict(self) -> dict[str, Any]:
        """Return the position in the epoch; `ResumableLoader` explains why the data module keeps it too."""
        if self._train_loader is None:
            return {}
        return {"train": self._train_loader.state_dict(), "interval": self.interval}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Resume at a position in the epoch.

        Raises:
            ConfigurationError: If the rows were another interval apart.

        """
        if problem := interval_problem("ckpt_path", self.interval, state_dict.get("interval")):
            raise ConfigurationError(problem)
        self._train_state = state_dict.get("train")

    @property
    def _ranks(self) -> dict[str, int]:
        if self.trainer is None:
            return {"rank": 0, "world_size": 1}
        return {"rank": self.trainer.global_rank, "world_size": self.trainer.world_size}

    @property
    def _device(self) -> torch.device:
        """Training device."""
        return torch.device("cpu") if self.trainer is None else self.trainer.strategy.root_device

    @property
    def _stage_split(self) -> str:
        trainer = self.trainer
        if trainer is not None and (trainer.validating or trainer.sanity_checking):
            return "val"
        return "test" if trainer is not None and (trainer.testing or trainer.predicting) else "train"

    def _place(self, split: str) -> RecordingTable:
        """Return the rows of a split on the device where batches are gathered."""
        if split not in self._placed:
            table, device = self.table(split), self._device
            fits = self.storage == "auto" and not self.num_workers and fits_on(device, self._tables.values())
            self._placed[split] = table.to(device) if fits or self.storage == "device" else table
        return self._placed[split]

    def _loader(self, data: Any, sampler: Any) -> Loader:
        sends = self._device.type == "cuda" and data.table.device.type == "cpu"
        workers = (2 if sends else 0) if self.num_workers is None else self.num_workers
        return ResumableLoader(data, sampler, num_workers=workers, pin_memory=sends, processed=self._processed)

    def _processed(self) -> int | None:
        """Return how many batches of this epoch Lightning has finished training on."""
        return None if self.trainer is None else finished_batches(self.trainer)
