"""Two processes share the batches, and each resumes mid-epoch from the carried state of its own lanes."""

import json
import os
import socket
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest

SCRIPT = """
import json
import lightning.pytorch as pl, torch
from lightning.pytorch.callbacks import ModelCheckpoint
from vestim_pl.callbacks import RandomStateCheckpoint
from vestim_pl.data import StreamSampling, VoltageDataModule, WindowSampling
from vestim_pl.estimator import VoltageEstimator

class Module(VoltageEstimator):
    def __init__(self):
        torch.manual_seed(0)
        super().__init__(["SOC", "Current", "Temp"], {"name": "LSTM", "hidden_sizes": [4]})
        self.scaler.fit(torch.rand(50, 3) * 40_000, torch.rand(50) * 40_000)
        self.seen, self.evaluated = [[], [], []], []
    def training_step(self, batch, batch_idx):
        self.seen[self.current_epoch] += batch.target[batch.weight > 0].tolist()
        return super().training_step(batch, batch_idx)
    def validation_step(self, batch, batch_idx):
        self.evaluated += batch.target[batch.weight > 0].tolist()

def fit(sampling, ckpt_path=None):
    module, data = Module(), VoltageDataModule("measured", sampling)
    trainer = pl.Trainer(
        max_epochs=2, accelerator="cpu", devices=2, strategy="ddp", logger=False, enable_progress_bar=False,
        num_sanity_val_steps=0, check_val_every_n_epoch=2, enable_model_summary=False,
        callbacks=[
            RandomStateCheckpoint(),
            ModelCheckpoint(type(sampling).__name__, "{step}", every_n_train_steps=1, save_top_k=-1),
        ],
    )
    trainer.fit(module, datamodule=data, ckpt_path=ckpt_path, weights_only=True if ckpt_path else None)
    if ckpt_path is None:
        told[type(sampling).__name__] = [module.seen, module.evaluated]
    return module, trainer.num_training_batches

told = {}
fit(WindowSampling(lookback=8, batch_size=16))
streams = StreamSampling(lookback=4, lanes=3, burn_in=0)
whole, batches = fit(streams)
resumed, _ = fit(streams, f"StreamSampling/step={batches + batches // 2}.ckpt")
told["batches"] = batches
told["same weights"] = all(torch.equal(a, b) for a, b in zip(whole.parameters(), resumed.parameters(), strict=True))
states = [module._carried["train"] for module in (whole, resumed)]
told["same state"] = all(torch.equal(a, b) for a, b in zip(*states, strict=True))
told["state"] = states[0][0].tolist()
with open(f"rank{whole.global_rank}.json", "w") as file:
    json.dump(told, file)
"""


def run_two_processes(folder) -> list[dict]:
    """Results that the two ranks of the script print."""
    (folder / "two.py").write_text(SCRIPT)
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = str(free.getsockname()[1])
    started = [
        subprocess.Popen(
            [sys.executable, "two.py"], cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            env=os.environ | {
                "OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo", "MASTER_ADDR": "localhost", "MASTER_PORT": port,
                "LOCAL_RANK": str(rank), "WORLD_SIZE": "2",
            },
        )
        for rank in range(2)
    ]  # fmt: skip
    output = [process.communicate(timeout=120)[0] for process in started]
    assert [process.returncode for process in started] == [0, 0], "\n".join(output)
    return [json.loads((folder / f"rank{rank}.json").read_text()) for rank in range(2)]


@pytest.mark.slow
def test_rows_come_once_an_epoch_on_one_of_two_ranks_and_each_resumes_in_mid_epoch(tmp_path):
    lengths = {"train": (40, 33), "val": (37,), "test": (30,)}
    volts = {rows: np.arange(rows) + 1000.0 * rows for of_split in lengths.values() for rows in of_split}
    for split, of_split in lengths.items():
        (tmp_path / "measured" / split).mkdir(parents=True)
        for rows in of_split:
            frame = pd.DataFrame(dict.fromkeys(["Time", "Current", "Voltage", "Temp", "SOC"], volts[rows]))
            frame.to_parquet(tmp_path / "measured" / split / f"{rows}.parquet")
    ranks = run_two_processes(tmp_path)
    for kind, unseen in (("WindowSampling", 7), ("StreamSampling", 0)):  # no window ends at the first rows
        trained = sorted([*volts[33][unseen:], *volts[40][unseen:]])
        for epoch in range(2):
            assert sorted(row for rank in ranks for row in rank[kind][0][epoch]) == trained
        assert sorted(row for rank in ranks for row in rank[kind][1]) == list(volts[37][unseen:])
    assert ranks[0]["batches"] == ranks[1]["batches"] > 2
    assert ranks[0]["state"] != ranks[1]["state"]
    assert all(rank["same weights"] and rank["same state"] for rank in ranks)
