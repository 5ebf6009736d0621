"""The samplers shard themselves; a trainer that would insert its own distributed sampler does not disturb them."""

import json
import os
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest

SCRIPT = """
import json, sys
import lightning.pytorch as pl, torch
from vestim_pl.data import StreamSampling, VoltageDataModule, WindowSampling

class Module(pl.LightningModule):
    def __init__(self):
        super().__init__()
        self.layer, self.seen, self.evaluated = torch.nn.Linear(3, 1), [], []
    def training_step(self, batch, batch_idx):
        self.seen.append((self.current_epoch, batch.first_row.tolist()))
        return self.layer(batch.inputs).mean()
    def validation_step(self, batch, batch_idx):
        self.evaluated += batch.first_row.tolist()
    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=1e-9)
    def on_train_end(self):
        with open(f"rank{self.global_rank}.json", "w") as file:
            json.dump([self.seen, self.evaluated], file)

if __name__ == "__main__":
    sampling = WindowSampling(lookback=8, batch_size=16)
    pl.Trainer(
        max_epochs=2, accelerator="cpu", devices=2, strategy="ddp_spawn", logger=False, enable_progress_bar=False,
        enable_checkpointing=False, num_sanity_val_steps=0, check_val_every_n_epoch=2,
    ).fit(Module(), datamodule=VoltageDataModule("measured", sampling))
"""


@pytest.mark.slow
def test_every_window_comes_once_an_epoch_on_one_of_two_ranks(tmp_path):
    for split, lengths in {"train": (40, 33), "val": (37,), "test": (30,)}.items():
        (tmp_path / "measured" / split).mkdir(parents=True)
        for rows in lengths:
            values = np.arange(rows) + 1000.0 * rows
            frame = pd.DataFrame(dict.fromkeys(["Time", "Current", "Voltage", "Temp", "SOC"], values))
            frame.to_parquet(tmp_path / "measured" / split / f"{rows}.parquet")
    (tmp_path / "two.py").write_text(SCRIPT)
    environment = os.environ | {"OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"}
    done = subprocess.run([sys.executable, "two.py"], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    ranks = [json.loads((tmp_path / f"rank{rank}.json").read_text()) for rank in range(2)]
    assert len(ranks[0][0]) == len(ranks[1][0])
    for epoch in range(2):
        seen = [row for steps, _ in ranks for number, rows in steps if number == epoch for row in rows]
        assert sorted(seen) == [*range(26), *range(33, 33 + 33)]  # of 33 rows, and of 40, each but the last 7
    assert sorted(row for _, rows in ranks for row in rows) == list(range(30))
