import logging
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace

import lightning.pytorch as pl
import numpy as np
import pandas as pd
import pytest
import torch

from vestim_pl.data import Columns, StreamSampling, VoltageDataModule, WindowSampling
from vestim_pl.errors import ConfigurationError, DataError

WINDOWS = WindowSampling(lookback=8, batch_size=16)
STREAMS = StreamSampling(lookback=8, lanes=3, burn_in=2)


def key(batch):
    return tuple(batch.first_row.tolist()), tuple(batch.target.flatten().tolist())


def keys(loader):
    return [key(batch) for batch in loader]


class Module(pl.LightningModule):
    """Records its batches; asks for the number of steps, as a module with a scheduler does."""

    def __init__(self, fail_at: int | None = None) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(3, 1)
        self.fail_at = fail_at
        self.seen: list = []

    def training_step(self, batch, batch_idx):
        if self.global_step == self.fail_at:
            raise RuntimeError("stopped here")
        self.seen.append((self.current_epoch, batch_idx, key(batch)))
        return self.layer(batch.inputs).mean()

    def validation_step(self, batch, batch_idx):
        pass

    def configure_optimizers(self):
        self.steps = self.trainer.estimated_stepping_batches
        return torch.optim.SGD(self.parameters(), lr=1e-9)


class Save(pl.Callback):
    """Saves a checkpoint after every step, and when the run is interrupted."""

    def on_train_batch_end(self, trainer, *args):
        trainer.save_checkpoint(f"step{trainer.global_step}.ckpt")

    def on_exception(self, trainer, *args):
        trainer.save_checkpoint("broken.ckpt")


def fit(data, callbacks=(), ckpt_path=None, module=None, **options):
    module = Module() if module is None else module
    options = {"max_epochs": 2, "num_sanity_val_steps": 0} | options
    trainer = pl.Trainer(
        accelerator="cpu",
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        enable_checkpointing=False,
        callbacks=list(callbacks),
        **options,
    )
    trainer.fit(module, datamodule=data, ckpt_path=ckpt_path, weights_only=True if ckpt_path else None)
    return module.seen


@pytest.mark.parametrize("sampling", [WINDOWS, STREAMS])
@pytest.mark.parametrize("options", [{}, {"val_check_interval": 2}, {"max_epochs": -1, "max_steps": 7}])
def test_a_run_stopped_at_any_step_continues_with_the_next_batch(folder, sampling, options):
    make = lambda: VoltageDataModule(folder, sampling, seed=3)
    whole = fit(make(), [Save()], **options)
    assert len(whole) == options.get("max_steps", 2 * len(make().train_dataloader()))
    assert len({entry[2] for entry in whole}) == len(whole)
    for step in range(1, len(whole)):
        assert fit(make(), ckpt_path=Path(f"step{step}.ckpt"), **options) == whole[step:], step


def test_it_continues_with_workers(folder):
    make = lambda workers: VoltageDataModule(folder, STREAMS, seed=3, num_workers=workers)
    whole = fit(make(0), [Save()])
    assert fit(make(2), ckpt_path=Path("step2.ckpt"), limit_val_batches=0) == whole[2:]


@pytest.mark.parametrize("sampling", [WINDOWS, STREAMS])
def test_a_batch_that_broke_the_run_is_served_again(folder, sampling):
    make = lambda: VoltageDataModule(folder, sampling, seed=3)
    whole = fit(make())
    for step in range(1, len(whole)):
        broken = Module(fail_at=step)
        with pytest.raises(RuntimeError, match="stopped here"):
            fit(make(), [Save()], module=broken)
        assert broken.seen == whole[:step]
        assert fit(make(), ckpt_path=Path("broken.ckpt")) == whole[step:], step


def test_a_checkpoint_of_other_data_is_not_continued_in_the_middle(folder):
    fit(VoltageDataModule(folder, WINDOWS), [Save()])
    other = VoltageDataModule(folder, WindowSampling(lookback=8, batch_size=4))
    with pytest.raises(ConfigurationError, match="ckpt_path: the checkpoint stands at batch 2"):
        fit(other, ckpt_path=Path("step2.ckpt"))


def test_overfitting_has_the_same_batches_every_epoch(folder):
    for sampling in (WINDOWS, STREAMS):
        seen = fit(VoltageDataModule(folder, sampling), overfit_batches=2)
        assert len(seen) == 4
        assert [entry[2] for entry in seen[:2]] == [entry[2] for entry in seen[2:]]


def test_ranks_of_the_trainer_share_the_batches(folder):
    shares = []
    for rank in range(2):
        data = VoltageDataModule(folder, WINDOWS)
        data.trainer = SimpleNamespace(
            global_rank=rank, world_size=2, overfit_batches=0, strategy=SimpleNamespace(root_device=torch.device("cpu"))
        )
        shares.append([start for batch in data.train_dataloader() for start in batch.first_row.tolist()])
    assert not set(shares[0]) & set(shares[1])
    alone = VoltageDataModule(folder, WINDOWS).train_dataloader()
    assert sorted(shares[0] + shares[1]) == sorted(start for batch in alone for start in batch.first_row.tolist())


@pytest.mark.parametrize("sampling", [WINDOWS, STREAMS])
@pytest.mark.parametrize(
    "options", [{"num_workers": 2}, {"storage": "device"}, {"storage": "mapped", "cache": "cache"}]
)
def test_storage_and_workers_change_nothing_in_the_batches(folder, sampling, options):
    plain, other = VoltageDataModule(folder, sampling), VoltageDataModule(folder, sampling, **options)
    for name in ("train_dataloader", "val_dataloader", "test_dataloader", "predict_dataloader"):
        assert keys(getattr(plain, name)()) == keys(getattr(other, name)())


def test_a_run_from_mapped_files(folder):
    data = VoltageDataModule(folder, STREAMS, storage="mapped", cache="cache")
    assert fit(data) == fit(VoltageDataModule(folder, STREAMS))
    assert len(list(Path("cache").iterdir())) == 1


def test_a_file_left_out_of_mapped_files_is_told_once_a_run(folder, caplog):
    frame = pd.read_parquet(folder / "test" / "e.parquet")
    frame.loc[4, "SOC"] = np.inf
    frame.to_parquet(folder / "test" / "e.parquet")
    for _ in range(2):
        caplog.clear()
        with caplog.at_level(logging.WARNING, logger="vestim_pl"):
            data = VoltageDataModule(folder, STREAMS, storage="mapped", cache="cache", on_bad_file="skip")
            fit(data, max_epochs=1)
        assert caplog.text.count("left out: test/e.parquet") == 1
        assert list(data.skipped) == ["test/e.parquet"]


def test_rows_on_the_device_are_moved_once_and_freed(folder):
    class Elsewhere(VoltageDataModule):
        _device = torch.device("meta")

    data = Elsewhere(folder, STREAMS, storage="device")
    batch = next(iter(data.train_dataloader()))
    assert {tensor.device.type for tensor in batch} == {"meta"}
    assert data.train_dataloader().data.table is data.train_dataloader().data.table
    assert data.table("train").device.type == "cpu"
    data.teardown()
    assert not data._placed


def test_batches_that_go_to_a_gpu_are_pinned_and_gathered_ahead(folder):
    class OnGpu(VoltageDataModule):
        _device = torch.device("cuda")

    data = OnGpu(folder, STREAMS, storage="memory")
    loader = data.train_dataloader()
    assert (loader.pin_memory, loader.num_workers) == (True, 2)
    assert OnGpu(folder, STREAMS, storage="memory", num_workers=0).train_dataloader().num_workers == 0
    assert not VoltageDataModule(folder, STREAMS).train_dataloader().pin_memory


def test_a_batch_on_the_device_is_not_walked_through(folder):
    data = VoltageDataModule(folder, STREAMS)
    batch = next(iter(data.train_dataloader()))
    assert data.transfer_batch_to_device(batch, torch.device("cpu"), 0) is batch
    data.trainer = pl.Trainer(accelerator="cpu", logger=False, enable_checkpointing=False)
    moved = data.transfer_batch_to_device(batch, torch.device("meta"), 0)
    assert type(moved) is type(batch)
    assert moved.inputs.device.type == "meta"


def test_columns_and_features_of_ones_own(folder):
    for path in folder.rglob("*.parquet"):
        frame = pd.read_parquet(path).rename(columns={"Voltage": "U", "Current": "I", "Time": "t"})
        frame.assign(Humidity=np.arange(len(frame))).to_csv(path.with_suffix(".csv"), index=False)
        path.unlink()
    data = VoltageDataModule(
        folder, WINDOWS, features=["Humidity", "I"], columns=Columns(voltage="U", current="I", time="t")
    )
    assert data.features == ("Humidity", "I")
    assert data.table("train").inputs[:3, 0].tolist() == [0.0, 1.0, 2.0]
    assert next(iter(data.train_dataloader())).inputs.shape == (16, 8, 2)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"features": []}, r"data\.features: no column is named"),
        ({"features": ["SOC", "Temp", "SOC"]}, r"data\.features: 'SOC' is named twice"),
        (
            {"features": ["SOC", "Voltage"]},
            r"data\.features: 'Voltage' is the voltage to estimate, .* leave it out",
        ),
        ({"on_bad_file": "ignore"}, r"data\.on_bad_file: 'ignore' is unknown; choose 'raise' or 'skip'"),
        ({"storage": "mapped"}, r"data\.cache: data\.storage=mapped needs a folder"),
        (
            {"splits": ["train", "validation"]},
            r"data\.splits: 'validation' is unknown; choose 'train', 'val' or 'test'",
        ),
    ],
)
def test_settings_that_cannot_be_are_refused_before_anything_is_read(options, message):
    with pytest.raises(ConfigurationError, match=message):
        VoltageDataModule("nowhere", **options)


def test_past_voltage_is_a_feature_of_the_next_step(folder):
    sampling = WindowSampling(lookback=8, horizon=1)
    data = VoltageDataModule(folder, sampling, features=["Voltage", "Current"])
    batch = next(iter(data.train_dataloader()))
    voltage = data.table("train").target
    assert torch.equal(batch.inputs[:, -1, 0], voltage[batch.first_row + 7])
    assert torch.equal(batch.target[:, 0], voltage[batch.first_row + 8])


def test_bad_files_stop_or_are_left_out_with_a_warning(folder, caplog):
    frame = pd.read_parquet(folder / "test" / "e.parquet")
    frame.loc[4, "SOC"] = np.inf
    frame.to_parquet(folder / "test" / "e.parquet")
    with pytest.raises(DataError, match=r"^test/e\.parquet: column 'SOC', row 4 \(counted from 0\) is Inf"):
        VoltageDataModule(folder, WINDOWS).setup("fit")
    data = VoltageDataModule(folder, WINDOWS, on_bad_file="skip")
    with caplog.at_level(logging.WARNING, logger="vestim_pl"):
        data.setup()
        data.setup("test")
    assert caplog.text.count("left out: test/e.parquet") == 1
    assert data.table("test").names == ("f",)
    assert "left out: test/e.parquet" in data.describe()


def test_recordings_shorter_than_the_window_are_named(folder):
    with pytest.raises(DataError, match=r"train/c\.parquet: has 21 rows but sampling\.lookback=22 needs at least 22"):
        VoltageDataModule(folder, WindowSampling(lookback=22)).setup()


def test_the_summary_counts_files_rows_and_hours(folder):
    lines = VoltageDataModule(folder, WINDOWS).describe().splitlines()
    assert [line.split() for line in lines] == [
        ["split", "files", "rows", "hours", "interval"],
        ["train", "3", "94", "0.0", "1", "s"],
        ["val", "1", "37", "0.0", "1", "s"],
        ["test", "2", "74", "0.0", "1", "s"],
    ]


def test_lanes_are_located_in_the_split_of_the_stage(folder):
    data = VoltageDataModule(folder, WINDOWS)
    batch = next(iter(data.test_dataloader()))
    batch = batch._replace(first_row=torch.tensor([0, 3, -1]))
    _, place, empty = data.locate(batch, "test")
    assert place == {"recording": "e", "start_row": 3, "end_row": 10, "start_time": 3.0, "end_time": 10.0}
    assert set(empty.values()) == {None}
    data.trainer = pl.Trainer(accelerator="cpu", logger=False, enable_checkpointing=False)
    for stage, split in (("training", "train"), ("validating", "val"), ("sanity_checking", "val"), ("testing", "test")):
        setattr(data.trainer, stage, True)
        assert data.locate(batch)[0]["recording"] == data.table(split).names[0]
    data.trainer.predicting = True
    assert data.locate(batch)[0]["recording"] == "e"


def test_some_splits_are_enough(folder):
    data = VoltageDataModule(folder, WINDOWS, splits=["test"])
    assert keys(data.test_dataloader())
    with pytest.raises(ConfigurationError, match=r"data\.splits: 'train' is not among test"):
        data.table("train")


def test_the_embedded_recordings_are_the_default():
    data, demo = VoltageDataModule(sampling=WINDOWS), VoltageDataModule("demo", WINDOWS)
    assert data.root == demo.root
    assert data.root.name == "demo"
    assert (data.root / "train").is_dir()


def test_its_state_is_plain(folder):
    data = VoltageDataModule(folder, WINDOWS)
    assert data.state_dict() == {}
    next(iter(data.train_dataloader()))
    state = data.state_dict()
    assert isinstance(state, Mapping)
    assert state["train"].keys() == {"epoch", "batch", "batches"}


def test_memory_at_a_long_lookback_is_less_than_twice_the_rows(lg_hg2):
    """The loader's table, index and permutation are compared with the bytes of the rows as float32."""
    data = VoltageDataModule(lg_hg2, WindowSampling(lookback=400, batch_size=8))
    loader = data.train_dataloader()
    batches = iter(loader)
    next(batches)
    table = data.table("train")
    raw = 4 * table.rows * (table.features + 2)  # time, features, voltage
    windows = loader.data
    held = table.nbytes + table.borders.nbytes + windows._firsts.nbytes + 4 * len(windows)
    assert windows._inputs.untyped_storage().data_ptr() == table.inputs.untyped_storage().data_ptr()
    assert windows._target.untyped_storage().data_ptr() == table.target.untyped_storage().data_ptr()
    assert table.inputs.untyped_storage().nbytes() == table.inputs.nbytes
    assert held < 2 * raw
    assert held < 2 * 4 * table.rows * (table.features + 1)


def test_memory_allocated_beside_torch_is_one_recording_and_the_permutation(lg_hg2):
    """Peak memory of numpy, pandas and Python while reading and during an epoch."""
    import tracemalloc

    data = VoltageDataModule(lg_hg2, WindowSampling(lookback=400, batch_size=8))
    tracemalloc.start()
    data.setup()
    batches = iter(data.train_dataloader())
    for _ in range(20):
        next(batches)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    rows = sum(data.table(split).rows for split in data.splits)
    beside = peak - 8 * rows  # time is numpy's
    assert beside < 4 * rows * 5
