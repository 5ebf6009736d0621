"""Replay refuses damaged and malicious crash bundles in one line and in little time, and runs none of their code."""

import resource
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import Callback, Trainer
from torch.utils.data import DataLoader

from tests.damaged_files import CANARY, GADGETS, changed, contents_of_anything, raw_files, save
from vestim_pl.callbacks import CrashBundle
from vestim_pl.callbacks.crash_bundle.plain_data import to_plain
from vestim_pl.estimator import VoltageEstimator
from vestim_pl.functional.sequence_batch import SequenceBatch
from vestim_pl.replay import NOT_REPRODUCED, main

NETWORK = {"name": "LSTM", "hidden_sizes": [8, 6]}


class NanInput(Callback):
    """Puts a NaN into each batch."""

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        batch.inputs[1, 6, 2] = float("nan")


@pytest.fixture(scope="module")
def sound(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("sound")
    estimator = VoltageEstimator(["SOC", "Current", "Temp"], NETWORK)
    estimator.scaler.fit(torch.randn(100, 3), 3.7 + 0.1 * torch.randn(100))
    trainer = Trainer(
        max_steps=1, callbacks=[NanInput(), CrashBundle(str(folder))], logger=False, accelerator="cpu",
        enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False,
    )  # fmt: skip
    trainer.fit(estimator, DataLoader([SequenceBatch.of(torch.randn(4, 10, 3), torch.randn(4, 10))], batch_size=None))
    return next(folder.glob("*.pt"))


def structure(content: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    """Bundles with an entry that is missing, has the wrong type, or sets what a file must not set."""
    for key in content:
        yield f"no {key}", changed(content, key, without=True)
        yield f"{key} of another type", changed(content, key, to=b"bytes")
    for key in content["trainer"]:
        yield f"text for the trainer's {key}", changed(content, "trainer", key, to="many")
    yield "another format", content | {"format": 1}
    yield "a format of a page", content | {"format": "\n" * 4000}
    yield "a trainer with plugins", changed(content, "trainer", "plugins", to=["something"])
    yield "a trainer with a folder", changed(content, "trainer", "default_root_dir", to=CANARY)
    yield "a summary without epoch", changed(content, "summary", "epoch", without=True)
    yield "two batches of one index", content | {"batches": content["batches"] * 2}
    yield "a batch of another structure", content | {"batches": [{"items": []}]}
    yield "a batch of unknown kind", content | {"batches": [{"__kind__": "closure", "repr": "x"}]}
    yield "a batch of text", content | {"batches": ["text"]}
    yield "a described batch without items", content | {"batches": [{"__kind__": "namedtuple", "class": "a:B"}]}
    yield "a described batch of unhashable kind", content | {"batches": [{"__kind__": []}]}
    yield "a set of lists", content | {"batches": [{"__kind__": "set", "items": [[1]]}]}
    huge = to_plain(SequenceBatch.of(torch.zeros(1).expand(4, 10**9, 3), torch.zeros(4, 10)))
    yield "a batch of 10^10", content | {"batches": [huge]}
    for gadget, make in GADGETS.items():
        yield f"{gadget} in a batch", content | {"batches": [make()]}
        yield f"{gadget} in the parameters", changed(content, "parameters", "more", to=make())


def modules(content: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    """Bundles with a foreign module, or with one that does not match its weights."""
    for name in (
        "os:system", "builtins:exec", "builtins:eval", "subprocess:Popen", "torch:load",
        "vestim_pl.app.command:os.system", "vestim_pl.app.command:run_command",
        "vestim_pl.callbacks.crash_bundle.class_import:import_any", "torch.optim:Adam",
        "vestim_pl.estimator:Nobody", "no.such:Module", "", ":", "tests.damaged_files:Call", f"/tmp/{CANARY}.py:Net",
    ):  # fmt: skip
        yield f"class {name!r}", changed(content, "module", "class", to=name)
    for name, options in (
        ("20,000 units", {"hidden_sizes": [20_000, 20_000]}), ("10^9 units", {"hidden_sizes": [10**9]}),
        ("10^9 members", {"members": 10**9}), ("60,000 members", {"members": 60_000}),
        ("negative sizes", {"hidden_sizes": [-8]}), ("an unknown network", {"name": "Oracle"}),
        ("an unknown option", {"colour": "blue"}),
    ):  # fmt: skip
        yield name, changed(content, "module", "initial", to=settings(network=NETWORK | options))
    yield "settings without items", changed(content, "module", "initial", to={"__kind__": "dict"})
    yield (
        "settings of unhashable keys",
        changed(content, "module", "initial", to={"__kind__": "dict", "items": [[[], 1]]}),
    )
    yield "no settings", changed(content, "module", "initial", to={})
    yield "settings of a script", changed(content, "module", "initial", to=settings(features="SOC", network="LSTM"))


def settings(**others: Any) -> dict[str, Any]:
    return to_plain({"features": ["SOC", "Current", "Temp"], "network": NETWORK} | others)


def tolerated(content: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    """Bundles that replay with a note on what is missing."""
    for name in ("os:system", "builtins:exec", "vestim_pl.app.command:os.system", "torch.optim:Nobody"):
        optimizer = content["optimizer"] | {"class": name}
        applied = dict.fromkeys(content["parameters"], torch.zeros(1))
        yield f"optimizer {name}", content | {"optimizer": optimizer, "applied": applied}
    for name in ("os:stat_result", "vestim_pl.app.command:os.stat_result"):
        field = {"__kind__": "namedtuple", "class": name, "fields": ["a"], "items": [1]}
        yield f"extra state of {name}", content | {"extras": {"__kind__": "dict", "items": [["more", field]]}}
    yield "a random state that is none", content | {"random": [{"python": 3}]}
    yield "an unknown precision", content | {"precision": "3-true"}
    yield "divided by nothing", changed(content, "trainer", "accumulate_grad_batches", to=0)
    yield "a parameter missing", changed(content, "parameters", next(iter(content["parameters"])), without=True)


def corpus(sound: Path, folder: Path) -> Iterator[tuple[str, Path]]:
    content = torch.load(sound, weights_only=True)
    (folder / "raw").mkdir()
    yield from raw_files(sound, folder / "raw")
    for number, contents in enumerate((contents_of_anything(), structure(content), modules(content))):
        (folder / str(number)).mkdir()
        yield from save(contents, folder / str(number), ".pt")


def test_sound_bundle_is_replayed(sound):
    assert main([str(sound)]) == 0


@pytest.mark.filterwarnings("error:.*pickle.*")
def test_every_bundle_is_refused_in_one_line_and_nothing_runs(sound, tmp_path, capsys):
    memory, refused = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, 0
    for name, path in corpus(sound, tmp_path):
        start = time.process_time()
        status = main([str(path)])
        error = capsys.readouterr().err
        assert status == 1, f"{name}: was replayed"
        assert error.startswith("error: "), f"{name}: {error}"
        assert str(path) in error, f"{name}: {error}"
        assert error[-1] == "\n", f"{name}: {error!r}"
        assert error[:-1].isprintable(), f"{name}: {error!r}"
        assert "weights_only" not in error, f"{name}: {error}"
        assert len(error) < 800, f"{name}: {error}"
        assert not Path(CANARY).exists(), f"{name}: code ran"
        assert time.process_time() - start < 20, f"{name}: takes too long"
        refused += 1
    assert refused >= 60
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - memory < 300_000, "kB of memory were filled"


def test_tolerated_bundles_replay_and_nothing_runs(sound, tmp_path, capsys):
    for name, path in save(tolerated(torch.load(sound, weights_only=True)), tmp_path, ".pt"):
        assert main([str(path)]) in (0, NOT_REPRODUCED), f"{name}: {capsys.readouterr().err}"
        assert not Path(CANARY).exists(), f"{name}: code ran"


def test_control_characters_do_not_reach_the_terminal(sound, tmp_path, capsys):
    content = torch.load(sound, weights_only=True)
    [(_, path)] = save(
        iter([("", changed(content, "summary", "reason", to="\x1b[2J\x1b]0;owned\x07"))]), tmp_path, ".pt"
    )
    assert main([str(path)]) == 0
    assert "\x1b" not in capsys.readouterr().out
