"""The recipes of docs/recipes.md, on files in the form and with the names of the published ones."""

import re
import shlex
import shutil
from pathlib import Path

import numpy as np
import pytest

from tests.composing import compose
from tests.data.preparation.conftest import cell
from tests.inspection.conftest import digatron
from vestim_pl.train import train

ROOT = Path(__file__).resolve().parents[1]
REAL = ROOT.parent / "shared" / "data" / "tester-files"
COMMANDS = re.findall(r"vestim_pl\.train (.*data\.split\.train.*)", (ROOT / "docs" / "recipes.md").read_text())


def recipe(name, root):
    """Overrides of the recipe as pasted, for another folder."""
    (command,) = (each for each in COMMANDS if f"data.root={name} " in each)
    return [f"data.root={root}" if each.startswith("data.root=") else each for each in shlex.split(command)]


def trained(name, root, tmp_path):
    overrides = recipe(name, root)
    run = train(compose(*overrides, "+trainer.fast_dev_run=true", f"run_dir={tmp_path / 'run'}"))
    return run.datamodule


def write_lg(root, *names):
    for number, name in enumerate(names):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        frame = cell(3000, seed=number, interval=0.1)
        digatron(frame.assign(SOC=frame["SOC"] + 0.1), root / name)


def test_lg_hg2_as_published(tmp_path):
    root = tmp_path / "LG_HG2"
    names = ("25degC/552_Mixed4.csv", "n10degC/582_Mixed1.csv", "25degC/552_Mixed8.csv", "25degC/551_US06.csv")
    write_lg(root, *names, "25degC/551_UDDS.csv", "0degC/589_LA92.csv", "40degC/556_HWFET.csv", "25degC/549_HPPC.csv")
    data = trained("LG_HG2", root, tmp_path)
    assert data.table("train").names == ("25degC/552_Mixed4", "n10degC/582_Mixed1")
    assert data.table("val").names == ("25degC/552_Mixed8",)
    assert len(data.table("test").names) == 4
    assert data.interval == 1.0
    rows = data.table("train").inputs[:300].numpy()
    frame = cell(3000, seed=0, interval=0.1)
    assert rows[0, 0] == pytest.approx(1.0, abs=1e-3)
    drop = frame["SOC"].iloc[0] - frame["SOC"].iloc[2990]
    assert rows[0, 0] - rows[299, 0] == pytest.approx(drop * 3.0 / 2.78, abs=1e-3)
    assert rows[:, 1].mean() == pytest.approx(frame["Current"].mean(), rel=1e-2)


def test_lg_hg2_on_the_real_files(tmp_path):
    if not (REAL / "lghg2_40C_562_Mixed4.csv").exists():
        pytest.skip("the real Digatron files are not in the folder of shared data beside the checkout")
    root = tmp_path / "LG_HG2"
    write_lg(root, "25degC/552_Mixed8.csv", "25degC/551_UDDS.csv", "25degC/551_LA92.csv", "25degC/551_US06.csv")
    for name in ("40degC/562_Mixed4.csv", "25degC/551_HWFET.csv"):
        (root / name).parent.mkdir(exist_ok=True)
        shutil.copyfile(REAL / f"lghg2_{name.replace('degC/', 'C_')}", root / name)
    data = trained("LG_HG2", root, tmp_path)
    assert data.table("train").names == ("40degC/562_Mixed4",)
    table = data.table("train")
    assert table.rows == 1133  # 11,327 rows at 10 Hz
    assert 2.5 < table.target.min() < table.target.max() < 4.3
    assert table.inputs[:, 2].min() > 20


def test_panasonic_as_published(tmp_path):
    scipy = pytest.importorskip("scipy.io")
    pytest.importorskip("pymatreader")
    root = tmp_path / "Panasonic" / "25degC"
    root.mkdir(parents=True)
    cycles = ("Cycle_1", "Cycle_2", "NN", "US06", "HWFTa", "UDDS", "LA92")
    for number, cycle in enumerate(cycles):
        frame = cell(3000, seed=number, interval=0.1)
        fields = {
            "Time": frame["Time"], "Voltage": frame["Voltage"], "Current": frame["Current"],
            "Ah": 3.0 * (frame["SOC"] - frame["SOC"].iloc[0]), "Wh": frame["Time"], "Power": frame["Current"],
            "Battery_Temp_degC": frame["Temp"], "Chamber_Temp_degC": frame["Temp"] - 1,
        }  # fmt: skip
        meas = {name: np.asarray(values).reshape(-1, 1) for name, values in fields.items()}
        scipy.savemat(root / f"03-18-17_02.17 25degC_{cycle}_Pan18650PF.mat", {"meas": meas})
    data = trained("Panasonic", tmp_path / "Panasonic", tmp_path)
    assert [len(data.table(split).names) for split in ("train", "val", "test")] == [2, 1, 4]
    assert data.table("train").inputs[:, 2].min() >= 25  # the cell's temperature, not the chamber's
    assert data.interval == 1.0
