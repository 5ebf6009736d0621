import json
import math
import resource

import pytest
import torch

from tests.callbacks.foreign import ForeignRecurrent, fit
from vestim_pl.callbacks import CrashBundle
from vestim_pl.callbacks.crash_bundle.plain_data import is_complete
from vestim_pl.callbacks.crash_bundle.reading import read_bundle
from vestim_pl.callbacks.crash_bundle.recording import StepWindow
from vestim_pl.callbacks.crash_bundle.writing import bundle_content, free_path, report_fault, write_bundle

NAN, INF = math.nan, math.inf


def test_bundle_comes_back_and_its_summary_is_json(tmp_path):
    path = tmp_path / "new" / "bundle.pt"
    write_bundle(path, {"weights": {"a": torch.ones(2)}}, {"reason": "loss", "rate": 0.1, "odd": {1, 2}})
    bundle = read_bundle(path)
    assert torch.equal(bundle["weights"]["a"], torch.ones(2))
    assert bundle["summary"] == {"reason": "loss", "rate": 0.1, "odd": [1, 2]}
    assert json.loads(path.with_suffix(".json").read_text()) == bundle["summary"]


def test_view_is_saved_without_its_base(tmp_path):
    write_bundle(tmp_path / "b.pt", {"x": torch.zeros(1_000_000)[:10]}, {})
    assert (tmp_path / "b.pt").stat().st_size < 10_000


def strict(path):
    return json.loads(path.read_text(), parse_constant=pytest.fail)


def test_json_is_strict_whatever_is_in_the_summary(tmp_path):
    summary = {"hparams": {(0, 1): 2, None: NAN}, "rates": [INF, -INF], "scale": torch.tensor([NAN]), "odd": object}
    write_bundle(tmp_path / "b.pt", {}, summary)
    story = strict(tmp_path / "b.json")
    assert story["hparams"] == {"(0, 1)": 2, "None": "NaN"}
    assert (story["rates"], story["scale"]) == (["Infinity", "-Infinity"], ["NaN"])
    assert read_bundle(tmp_path / "b.pt")["summary"] == story


@pytest.fixture
def small_disk():
    """Files of this process end after 20 kB, as on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, hard))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_full_disk_leaves_nothing_torn(tmp_path, small_disk):
    with pytest.raises((OSError, RuntimeError)):
        write_bundle(tmp_path / "tensors.pt", {"x": torch.zeros(100_000)}, {})
    with pytest.raises((OSError, RuntimeError)):
        write_bundle(tmp_path / "text.pt", {}, {"x": "x" * 100_000})
    assert list(tmp_path.iterdir()) == []


def test_a_name_that_is_taken_gets_a_number(tmp_path):
    path, names = tmp_path / "b.pt", []
    for _ in range(3):
        names.append(free_path(path).name)
        write_bundle(free_path(path), {}, {})
    assert names == ["b.pt", "b-2.pt", "b-3.pt"]
    assert len(list(tmp_path.iterdir())) == 6


def window_in_a_run(**options):
    module = ForeignRecurrent()
    trainer = fit(module, [CrashBundle()], max_steps=1, **options)
    window = StepWindow(module, trainer.optimizers[0])
    window.start_batch((torch.full((2, 3, 2), math.nan), torch.zeros(2, 3)), 7)
    window.copy_state()
    return trainer, module, window


def test_conditions_are_those_of_the_trainer():
    trainer, module, window = window_in_a_run(accumulate_grad_batches=4, max_epochs=3)
    inputs = window.inputs(trainer)
    assert (inputs.divisor, inputs.precision) == (4, "32-true")
    assert bundle_content(trainer, module, window)["trainer"] == {
        "epoch": 1, "step": 1, "batches": 12, "max_epochs": 3, "max_steps": 1, "accumulate_grad_batches": 4
    }  # fmt: skip


def test_step_and_gradients_before_and_after_the_update():
    trainer, module, window = window_in_a_run()

    def step_and_gradients():
        content = bundle_content(trainer, module, window)
        return content["trainer"]["step"], content["applied"]

    assert step_and_gradients() == (1, None)
    window.updating = True
    step, applied = step_and_gradients()
    assert step == 0  # of the update that has been made
    assert applied["cell.weight"] is module.cell.weight.grad
    trainer.fit_loop.epoch_loop.automatic_optimization.optim_progress.optimizer.step.increment_ready()
    assert step_and_gradients() == (1, None)  # within an update that has not ended


def test_content_is_plain():
    trainer, module, window = window_in_a_run()
    content = bundle_content(trainer, module, window)
    plain = [content["module"]["hparams"], content["module"]["initial"], *content["batches"], content["extras"]]
    assert is_complete(plain)
    assert content["module"]["class"] == "tests.callbacks.foreign:ForeignRecurrent"
    assert content["indices"] == [7]


def report(trainer, module, window, folder):
    return report_fault(trainer, module, window, "the loss is nan", folder / "b.pt", ring=20, limit=500.0)


def test_recordings_of_the_bad_rows(tmp_path):
    trainer, module, window = window_in_a_run()
    assert report(trainer, module, window, tmp_path).values["recordings"] == []

    class Data:
        hparams = {}

        def locate(self, batch):
            return [{"recording": "a"}, {"recording": "b"}]

    trainer.datamodule = Data()
    window.batches = [(torch.tensor([[1.0], [math.nan]]), torch.zeros(2))]
    found = report(trainer, module, window, tmp_path)
    assert (found.problem, found.values["recordings"]) == ("", [{"recording": "b"}])


def test_versions_and_size_are_recorded(tmp_path):
    trainer, module, window = window_in_a_run()
    found = report(trainer, module, window, tmp_path)
    summary = read_bundle(tmp_path / "b.pt")["summary"]
    assert summary["versions"]["torch"].split("+")[0] == torch.__version__.split("+")[0]
    weights = sum(parameter.numel() for parameter in module.parameters())
    assert found.values["megabytes"] == summary["megabytes"] >= round(3 * 4 * weights / 1e6, 3)  # AdamW has two moments
