"""The installed wheel does the main job from an empty folder, with the configuration and the demo data inside."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("dist")
    subprocess.run(
        [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder), str(ROOT)],
        check=True, capture_output=True, text=True,
    )  # fmt: skip
    [built] = folder.glob("*.whl")
    return built


def test_wheel_ships_configuration_demo_data_reports_and_types(wheel):
    names = set(zipfile.ZipFile(wheel).namelist())
    for path in (ROOT / "conf").rglob("*.yaml"):
        assert f"vestim_pl/conf/{path.relative_to(ROOT / 'conf').as_posix()}" in names
    for path in (ROOT / "vestim_pl" / "data" / "demo").rglob("*.parquet"):
        assert path.relative_to(ROOT).as_posix() in names
    for path in (*(ROOT / "vestim_pl/reports/assets").iterdir(), *(ROOT / "vestim_pl/reports/templates").iterdir()):
        assert path.relative_to(ROOT).as_posix() in names
    assert any(name.endswith("licenses/vestim_pl/reports/assets/plotly-basic.LICENSE") for name in names)
    assert "vestim_pl/py.typed" in names
    assert not [name for name in names if name.startswith(("tests/", "scripts/", "conf/"))]


def test_installed_wheel_trains_the_safer_preset_in_an_empty_folder(wheel, tmp_path):
    target, empty = tmp_path / "site", tmp_path / "empty"
    empty.mkdir()
    subprocess.run(
        [sys.executable, "-m", "pip", "install", "--no-deps", "--no-index", "--target", str(target), str(wheel)],
        check=True, capture_output=True, text=True,
    )  # fmt: skip
    done = subprocess.run(
        [
            sys.executable, "-m", "vestim_pl.train", "+preset=safer", "trainer.max_epochs=1",
            "+trainer.limit_train_batches=2", "sampling.evaluation=streams", "sampling.batch_size=16",
        ],
        cwd=empty, capture_output=True, text=True, timeout=300, check=False,
        env={**os.environ, "PYTHONPATH": str(target), "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "overall" in done.stdout
    assert len(list(empty.glob("outputs/*/*/.hydra/config.yaml"))) == 1
    where = subprocess.run(
        [sys.executable, "-c", "import vestim_pl; print(vestim_pl.__file__)"],
        cwd=empty, capture_output=True, text=True, check=True, env={**os.environ, "PYTHONPATH": str(target)},
    ).stdout  # fmt: skip
    assert str(target) in where, "the checkout was tested, not the wheel"
