"""A disk that is full, gone or read-only: one line, a non-zero exit status, and what was good stays good.

The disks are small tmpfs in a mount namespace of their own, which ends with the command.
"""

import json
import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from vestim_pl.deploy.checkpoint import load_checkpoint
from vestim_pl.errors import ConfigurationError

ROOT = Path(__file__).resolve().parents[2]
NAMESPACE = (
    ["unshare", "--mount"] if hasattr(os, "geteuid") and os.geteuid() == 0 else ["unshare", "--user", "-r", "-m"]
)
ON_DISK = 'mount -t tmpfs -o size="$0" tmpfs . && cd "$PWD" && "$@"; status=$?; cp -a . "$KEPT"; exit $status'
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}


def on_disk(size: str, folder: Path, *command: str, **options: object) -> subprocess.CompletedProcess[str]:
    """Run a command on an empty disk of that size; what it leaves is in ``folder/kept``."""
    (folder / "disk").mkdir()
    (folder / "kept").mkdir()
    return subprocess.run(
        [*NAMESPACE, "sh", "-c", ON_DISK, size, *command],
        cwd=folder / "disk", env={**ENVIRONMENT, "KEPT": str(folder / "kept")}, text=True, timeout=300, check=False,
        **{"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **options},
    )  # fmt: skip


@pytest.fixture(scope="module", autouse=True)
def _can_mount(tmp_path_factory: pytest.TempPathFactory) -> None:
    if shutil.which("unshare") is None or on_disk("4k", tmp_path_factory.mktemp("trial"), "true").returncode:
        pytest.skip("no small disk can be mounted here: that takes Linux and root, or user namespaces")


@pytest.fixture
def training(recordings: Path, small: tuple[str, ...]) -> list[str]:
    settings = ["data=folder", f"data.root={recordings}", *small, "hydra.run.dir=run"]
    return [sys.executable, "-m", "vestim_pl.train", *settings]


def is_one_line(done: subprocess.CompletedProcess[str]) -> str:
    """Return the error line, after checking that it is the only one."""
    assert done.returncode == 1, done.stderr
    assert [line for line in done.stderr.splitlines() if line.startswith("error: ")] == done.stderr.splitlines()
    assert done.stderr.count("\n") == 1, done.stderr
    for word in ("Traceback", "Logging error", "Exception ignored"):
        assert word not in (done.stdout or "")
    return done.stderr


def what_is_left_is_whole(run: Path) -> set[str]:
    """Return the names of the checkpoints, after checking that every file is whole."""
    found = set()
    for path in run.rglob("*.ckpt"):
        load_checkpoint(path, to_resume=True)
        found.add(path.name)
    assert not list(run.rglob("*.partial")) + list(run.rglob("*.part"))
    for path in run.rglob("metrics*.csv"):
        assert pd.read_csv(path)["step"].notna().all()
    for path in run.rglob("events.jsonl"):
        assert all(json.loads(line)["kind"] for line in path.read_text().splitlines())
    return found


SIZES = {  # of the disk: what cannot be written, and the checkpoints that are kept
    "4k": ("hydra.run.dir: its files cannot be made or written to: No space left", set()),
    "12k": ("provenance.json: cannot be written: the disk is full", set()),
    "20k": ("hparams.yaml: cannot be written: the disk is full", set()),
    "100k": ("best.ckpt: cannot be written: the disk is full", set()),
    "250k": ("best.ckpt: cannot be written: the disk is full", {"best.ckpt", "last.ckpt"}),
    "500k": ("report.html: cannot be written: the disk is full", {"best.ckpt", "last.ckpt"}),
}


@pytest.mark.slow
@pytest.mark.parametrize("size", SIZES)
def test_a_full_disk_is_one_line_and_what_was_good_stays_good(size, training, tmp_path):
    message, kept = SIZES[size]
    done = on_disk(size, tmp_path, *training)
    assert message in is_one_line(done)
    assert what_is_left_is_whole(tmp_path / "kept") == kept
    if size == "250k":
        assert "checkpoints/last.ckpt of step 16 is complete; then resume with: " in done.stderr
        resume = shlex.split(done.stderr.split("resume with: ")[1].replace(f"{tmp_path}/disk/", f"{tmp_path}/kept/"))
        resumed = subprocess.run(
            resume, cwd=tmp_path / "kept", env=ENVIRONMENT, capture_output=True, text=True, timeout=300, check=False
        )
        assert resumed.returncode == 0, resumed.stderr
        assert load_checkpoint(tmp_path / "kept" / "run" / "checkpoints" / "last.ckpt")["global_step"] == 32
    if size == "500k":
        assert "overall" in done.stdout, "the errors were computed, and should be seen"
        assert (tmp_path / "kept" / "run" / "test_errors.csv").is_file()


@pytest.mark.slow
def test_a_data_cache_that_does_not_fit_is_refused_before_it_is_mapped(training, tmp_path):
    done = on_disk("48k", tmp_path, *training, "data.storage=mapped", "data.cache=cache")
    assert "cannot be written: the disk is full" in is_one_line(done)
    assert not list((tmp_path / "kept" / "cache").iterdir())


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "folder", "message"),
    [("gone", "run", "run is gone; was it removed or unmounted?"), ("read-only", ".", "the file system is read-only")],
)
def test_a_folder_that_is_gone_or_read_only_is_one_line(kind, folder, message, training, tmp_path):
    trouble = f"{{_target_:tests.integration.disk_trouble.DiskTrouble,kind:{kind},step:20,folder:{folder}}}"
    done = on_disk("20m", tmp_path, *training, f"+callbacks.trouble={trouble}")
    assert message in is_one_line(done)
    kept = what_is_left_is_whole(tmp_path / "kept")
    assert kept == (set() if kind == "gone" else {"best.ckpt", "last.ckpt"})


@pytest.mark.slow
def test_a_limit_on_the_size_of_a_file_is_one_line(training, tmp_path):
    done = on_disk("20m", tmp_path, "sh", "-c", 'ulimit -f 100; exec "$@"', "sh", *training)
    assert "best.ckpt: cannot be written: the file would be larger than this process may write" in is_one_line(done)


@pytest.mark.slow
def test_standard_output_on_a_full_disk_is_one_line(training, tmp_path):
    with open("/dev/full", "w") as full:
        done = on_disk("20m", tmp_path, *training, stdout=full)
    assert "standard output" in is_one_line(done)
    assert what_is_left_is_whole(tmp_path / "kept") == {"best.ckpt", "last.ckpt"}


@pytest.mark.slow
def test_every_job_of_a_multirun_says_so_and_the_command_fails(training, tmp_path):
    settings = [setting for setting in training if not setting.startswith("hydra.")]
    done = on_disk("100k", tmp_path, *settings[:3], "-m", *settings[3:], "seed=0,1", "hydra.sweep.dir=sweep")
    assert done.returncode == 1
    assert "Traceback" not in done.stdout + done.stderr
    assert "the disk is full" in done.stderr.splitlines()[-1]


@pytest.mark.slow
def test_evaluate_prints_its_errors_before_the_disk_is_full(training, recordings, tmp_path):
    (tmp_path / "first").mkdir()
    subprocess.run([*training, "test=false"], cwd=tmp_path / "first", env=ENVIRONMENT, check=True, capture_output=True)
    best = tmp_path / "first" / "run" / "checkpoints" / "best.ckpt"
    evaluate = [
        sys.executable,
        "-m",
        "vestim_pl.evaluate",
        f"ckpt_path={best}",
        "data=folder",
        f"data.root={recordings}",
    ]
    done = on_disk("40k", tmp_path, *evaluate, "hydra.run.dir=run", "sampling.lookback=20")
    assert "cannot be written: the disk is full" in is_one_line(done)
    assert "overall" in done.stdout


def test_a_checkpoint_cut_off_by_a_full_disk_would_be_seen(tmp_path):
    """Check what the tests above rely on."""
    (tmp_path / "torn.ckpt").write_bytes(b"PK\x03\x04")
    with pytest.raises(ConfigurationError):
        what_is_left_is_whole(tmp_path)
