"""Record versions, machine and command of a run, so that it can be repeated."""

import json
import os
import platform
import subprocess
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Trainer

import vestim_pl
from vestim_pl.files import whole_file

__all__ = ["provenance", "write_provenance"]

_PACKAGES = ("torch", "lightning", "torchmetrics", "hydra-core", "omegaconf", "numpy", "pandas", "pyarrow")


def provenance() -> dict[str, Any]:
    """Collect versions, machine, command and, in a checkout, the commit and whether files changed.

    Example::

        >>> sorted(provenance())
        ['command', 'git', 'machine', 'python', 'started', 'versions']

    """
    return {
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": sys.argv,
        "python": platform.python_version(),
        "versions": {"vestim_pl": vestim_pl.__version__, **{name: _version(name) for name in _PACKAGES}},
        "git": _git(),
        "machine": {
            "system": platform.platform(),
            "processor": platform.processor() or platform.machine(),
            "cores": os.cpu_count(),
            "torch_threads": torch.get_num_threads(),
            "cuda": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        },
    }


def write_provenance(
    run_dir: Path, trainer: Trainer, vestim: Mapping[str, Any] | None = None, data: Mapping[str, Any] | None = None
) -> None:
    """Write ``provenance.json`` into the run folder, on rank zero.

    Args:
        run_dir: Folder of the run.
        trainer: The run's trainer.
        vestim: VEstim's file and values behind the settings; a resumed run keeps the earlier ones.
        data: What was assumed about the files of the data, such as units and the sign of the current.

    """
    if not trainer.is_global_zero:
        return
    run_dir.mkdir(parents=True, exist_ok=True)
    path = run_dir / "provenance.json"
    origin = dict(vestim) if vestim else _origin(path)
    more = ({"vestim": origin} if origin else {}) | ({"data": dict(data)} if data else {})
    with whole_file(path) as partial:
        partial.write_text(json.dumps(provenance() | more, indent=2) + "\n")


def _origin(path: Path) -> Any:
    """VEstim's file and values in an existing provenance file."""
    try:
        return json.loads(path.read_text()).get("vestim")
    except (OSError, ValueError, AttributeError):
        return None


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _git() -> dict[str, Any] | None:
    """Commit of the package's checkout; None for an installed package."""
    folder = Path(vestim_pl.__file__).resolve().parents[1]
    if not (folder / ".git").exists():
        return None
    try:
        commit = _run(folder, "rev-parse", "HEAD")
        return {"commit": commit, "changed": bool(_run(folder, "status", "--porcelain"))}
    except (OSError, subprocess.CalledProcessError):
        return None


def _run(folder: Path, *arguments: str) -> str:
    done = subprocess.run(["git", "-C", str(folder), *arguments], capture_output=True, text=True, check=True)
    return done.stdout.strip()
