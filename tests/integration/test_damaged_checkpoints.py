"""Damaged and malicious checkpoints: every command refuses each one quickly, in one line, and runs none of its code."""

import resource
import time
import zipfile
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import LightningDataModule, Trainer
from omegaconf import OmegaConf
from torch import nn
from torch.utils.data import DataLoader

from tests.damaged_files import CANARY, GADGETS, changed, contents_of_anything, raw_files, save
from tests.integration.forked import run_module
from vestim_pl.app.early_check import refuse_missing_checkpoint
from vestim_pl.app.fitting import fit
from vestim_pl.app.resume import refuse_unfit_checkpoint
from vestim_pl.callbacks import GradientNormMonitor, RandomStateCheckpoint
from vestim_pl.deploy.checkpoint import load_estimator
from vestim_pl.deploy.model import load_model
from vestim_pl.deploy.streaming import StreamingEstimator
from vestim_pl.errors import ConfigurationError
from vestim_pl.estimator import VoltageEstimator
from vestim_pl.evaluate import evaluate
from vestim_pl.export import export
from vestim_pl.functional.sequence_batch import SequenceBatch

FEATURES = ["SOC", "Current", "Temp"]
NETWORK = {"name": "LSTM", "hidden_sizes": [8, 6], "dropout": 0.2}
NAN, INF = float("nan"), float("inf")


class Streams(LightningDataModule):
    """Four batches."""

    def train_dataloader(self) -> Any:
        batches = [SequenceBatch.of(torch.randn(4, 10, 3), 3.7 + 0.1 * torch.randn(4, 10)) for _ in range(4)]
        return DataLoader(batches, batch_size=None)


def estimator() -> VoltageEstimator:
    made = VoltageEstimator(FEATURES, NETWORK)
    made.scaler.fit(torch.randn(100, 3), 3.7 + 0.1 * torch.randn(100))
    return made


def trainer(epochs: int) -> Trainer:
    return Trainer(
        max_epochs=epochs, callbacks=[RandomStateCheckpoint(), GradientNormMonitor()], logger=False, accelerator="cpu",
        enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False,
    )  # fmt: skip


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("sound") / "last.ckpt"
    first = trainer(epochs=1)
    first.fit(estimator(), datamodule=Streams())
    first.save_checkpoint(path)
    return path


def stream(path: Path) -> None:
    StreamingEstimator.from_checkpoint(path)


def export_it(path: Path) -> None:
    export(
        OmegaConf.create(
            {
                "ckpt_path": str(path),
                "path": "model.onnx",
                "format": "onnx",
                "name": "cell",
                "quantize": None,
                "columns": {},
            }
        )
    )


def evaluate_it(path: Path) -> None:
    evaluate(OmegaConf.create({"ckpt_path": str(path), "run_dir": "run"}))


def resume(path: Path) -> None:
    module = estimator()
    refuse_missing_checkpoint(str(path))
    refuse_unfit_checkpoint(str(path), module)
    fit(trainer(epochs=2), module, Streams(), str(path))


def weights(content: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    """Weights that are damaged, or of another module: no command takes them."""
    name = "network.layers.0.kernel.weight_ih_l0"
    name = name if name in content["state_dict"] else next(iter(content["state_dict"]))
    tensor = content["state_dict"][name]
    for number in (NAN, INF, -INF):
        bad = tensor.clone()
        bad.view(-1)[3] = number
        yield f"{number} in a weight", changed(content, "state_dict", name, to=bad)
    yield "NaN in the scaler", changed(content, "state_dict", "scaler.input_mean", to=torch.full((3,), NAN))
    yield "no state_dict", changed(content, "state_dict", without=True)
    yield "an empty state_dict", changed(content, "state_dict", to={})
    yield "a list of weights", changed(content, "state_dict", to=[tensor])
    yield "a weight missing", changed(content, "state_dict", name, without=True)
    yield "a weight too many", changed(content, "state_dict", "other\n\x1b[2J", to=torch.ones(2))
    yield "a weight of another shape", changed(content, "state_dict", name, to=torch.ones(3, 5))
    yield "a scalar weight", changed(content, "state_dict", name, to=torch.tensor(1.0))
    yield "text for a weight", changed(content, "state_dict", name, to="0.5")
    yield "a sparse weight", changed(content, "state_dict", name, to=tensor.to_sparse())
    yield "a meta weight", changed(content, "state_dict", name, to=tensor.to("meta"))
    yield "a weight of 10^14", changed(content, "state_dict", name, to=torch.zeros(1).expand(10**14))
    yield "another module", content | {"state_dict": nn.Linear(3, 2).state_dict(), "hyper_parameters": {"features": 3}}
    for gadget, make in GADGETS.items():
        yield f"{gadget} in the weights", changed(content, "state_dict", name, to=make())
        yield f"{gadget} in the settings", changed(content, "hyper_parameters", "network", to=make())
        yield f"{gadget} beside them", content | {"more": [make()]}


def settings(content: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    """Settings that do not fit the weights; a resumed run uses its own settings."""

    def network(**options: Any) -> dict[str, Any]:
        return changed(content, "hyper_parameters", "network", to=NETWORK | options)

    yield "no settings", changed(content, "hyper_parameters", without=True)
    yield "settings that are a list", content | {"hyper_parameters": [1, 2]}
    yield "an unknown setting", changed(content, "hyper_parameters", "colour", to="blue")
    yield "settings of numbers", content | {"hyper_parameters": {1: 2}}
    yield "no network", changed(content, "hyper_parameters", "network", without=True)
    yield "a network that is text", changed(content, "hyper_parameters", "network", to="LSTM")
    yield "an unknown network", network(name="Oracle")
    yield "a network of no name", network(name=None)
    yield "an unknown option", network(colour="blue")
    yield "negative sizes", network(hidden_sizes=[-8, 6])
    yield "no layers", network(hidden_sizes=[])
    yield "sizes as text", network(hidden_sizes="8, 6")
    yield "other sizes", network(hidden_sizes=[9, 6])
    yield "20,000 units", network(hidden_sizes=[20_000, 20_000])
    yield "10^9 units", network(hidden_sizes=[10**9])
    yield "NaN units", network(hidden_sizes=[NAN])
    yield "10^9 layers of direct path", network(direct=[10**9])
    yield "10^9 members", network(members=10**9)
    yield "50,000 members", network(members=50_000)
    yield "100,000 layers", network(hidden_sizes=[1] * 10**5)
    yield "dropout of 5", network(dropout=5.0)
    yield "features that are a number", changed(content, "hyper_parameters", "features", to=3)
    yield "no features", changed(content, "hyper_parameters", "features", to=[])
    yield "other features", changed(content, "hyper_parameters", "features", to=["SOC"])
    yield "RC pairs that are none", changed(content, "hyper_parameters", "rc_pairs", to={"steps": [-1]})


def training(content: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    """Counters and optimizers that are damaged: only a resumed run uses them."""
    for key in ("epoch", "global_step", "loops", "callbacks", "optimizer_states", "lr_schedulers"):
        yield f"no {key}", changed(content, key, without=True)
    yield "empty loops", content | {"loops": {}}
    yield "loops that are a number", content | {"loops": 3}
    yield "callbacks that are a number", content | {"callbacks": 3}
    yield "no state of an optimizer", content | {"optimizer_states": []}
    yield "a state that is a number", content | {"optimizer_states": [3]}
    state = changed(content["optimizer_states"][0], "state", 0, "exp_avg", to=torch.full((2,), NAN))
    yield "NaN in a moment", content | {"optimizer_states": [state]}
    yield "an optimizer without groups", content | {"optimizer_states": [{"state": {}, "param_groups": []}]}
    random_state = next(key for key in content["callbacks"] if "RandomState" in key) if any(
        "RandomState" in key for key in content["callbacks"]
    ) else None  # fmt: skip
    if random_state:
        yield "a random state that is none", changed(content, "callbacks", random_state, to={"random": 3})


def predict_it(path: Path) -> None:
    load_model(path, setting="ckpt_path")


COMMANDS: dict[str, Callable[[Path], None]] = {
    "stream": stream, "export": export_it, "evaluate": evaluate_it, "resume": resume, "predict": predict_it,
}  # fmt: skip


def corpus(sound: Path, folder: Path, command: str) -> Iterator[tuple[str, Path]]:
    content = torch.load(sound, weights_only=True)
    (folder / "raw").mkdir()
    yield from raw_files(sound, folder / "raw")
    of_command = training if command == "resume" else settings
    for number, contents in enumerate((contents_of_anything(), weights(content), of_command(content))):
        (folder / str(number)).mkdir()
        yield from save(contents, folder / str(number), ".ckpt")


def refusal(command: Callable[[Path], None], path: Path, name: str) -> str:
    try:
        command(path)
    except ConfigurationError as error:
        return str(error)
    except Exception as error:
        raise AssertionError(f"{name}: is no line but {error!r}") from error
    raise AssertionError(f"{name}: was taken")


def test_the_sound_one_is_taken_by_all(sound, tmp_path):
    stream(sound)
    resume(sound)
    assert load_estimator(sound)(torch.randn(1, 5, 3))[0].shape == (1, 5)


@pytest.mark.filterwarnings("error:.*pickle.*")  # a warning is a line too
@pytest.mark.parametrize("command", COMMANDS)
def test_every_one_is_refused_in_one_line_and_nothing_runs(command, sound, tmp_path, capfd):
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    refused, of_all = 0, 1 if command in ("stream", "resume") else 8  # the others load as stream does
    for name, path in islice(corpus(sound, tmp_path, command), 0, None, of_all):
        start = time.process_time()
        told = refusal(COMMANDS[command], path, name)
        assert told.startswith(f"ckpt_path: {path} "), f"{name}: {told}"
        assert told.isprintable(), f"{name}: {told!r}"
        assert "; " in told, f"{name}: nothing to do is suggested: {told}"
        assert "weights_only" not in told, f"{name}: {told}"
        assert len(told) < 600, f"{name}: {told}"
        assert not Path(CANARY).exists(), f"{name}: code ran"
        assert time.process_time() - start < 20, f"{name}: takes too long"
        refused += 1
    assert refused >= 60 / of_all
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - memory < 300_000, "kB of memory were filled"
    assert "Traceback" not in capfd.readouterr().err


def test_an_archive_that_promises_a_large_tensor_is_refused(sound, tmp_path):
    """The storage of the first weight claims 10^12 numbers; the record has few."""
    path = tmp_path / "claims.ckpt"
    with zipfile.ZipFile(sound) as whole, zipfile.ZipFile(path, "w") as archive:
        for record in whole.infolist():
            data = whole.read(record)
            if record.filename.endswith("data.pkl"):
                position = data.index(b"cpu")
                number = data.index(b"K", position)
                data = data[:number] + b"\x8a\x06" + (10**12).to_bytes(6, "little") + data[number + 2 :]
            archive.writestr(record.filename, data)
    with pytest.raises(ConfigurationError, match=r"claims\.ckpt is no checkpoint"):
        load_estimator(path)


@pytest.mark.slow
@pytest.mark.parametrize("command", ["evaluate", "export", "train"])
@pytest.mark.parametrize("kind", ["cut off", "gadget", "NaN", "memory"])
def test_the_real_command_ends_in_that_line(command, kind, sound, tmp_path):
    content, path = torch.load(sound, weights_only=True), tmp_path / "some.ckpt"
    if kind == "cut off":
        path.write_bytes(sound.read_bytes()[:20_000])
    elif kind == "gadget":
        torch.save(content | {"more": GADGETS["os.mkdir"]()}, path)
    elif kind == "NaN":
        torch.save(changed(content, "state_dict", "scaler.input_mean", to=torch.full((3,), NAN)), path)
    else:
        torch.save(changed(content, "hyper_parameters", "network", "hidden_sizes", to=[10**9]), path)
    done = run_module(tmp_path, f"vestim_pl.{command}", f"ckpt_path={path}", "hydra.run.dir=run")
    assert done.returncode == 1
    assert [line for line in done.stderr.splitlines() if line.startswith("error: ")] == done.stderr.splitlines()
    assert done.stderr.startswith(f"error: ckpt_path: {path} "), done.stderr
    assert not (tmp_path / CANARY).exists()
