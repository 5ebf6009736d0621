"""The templates of docs/contributing.md work as they are printed, and their tests pass."""

import importlib.util
import inspect
import re
import sys
from pathlib import Path

import pytest
import torch
import yaml
from lightning.pytorch import Trainer
from lightning.pytorch.demos.boring_classes import BoringModel

from tests.networks.test_network import in_chunks
from vestim_pl.diagnosis.checks.cost import Plan
from vestim_pl.errors import ConfigurationError
from vestim_pl.lightning_support import schedulers
from vestim_pl.networks import Network
from vestim_pl.settings.arguments import argument_types

ROOT = Path(__file__).resolve().parents[1]
PAGE = (ROOT / "docs" / "contributing.md").read_text()
FILES = dict(re.findall(r'```\w+ title="(.*?)"\n(.*?)```', PAGE, flags=re.DOTALL))
SNIPPETS = re.findall(r"```python\n(.*?)```", PAGE, flags=re.DOTALL)
SETTINGS = [(name, yaml.safe_load(text)) for name, text in FILES.items() if name.endswith(".yaml")]


@pytest.fixture
def modules(tmp_path, monkeypatch):
    """Every Python template, loaded under the name that its place in the repository would give it."""
    loaded = {}
    for name, text in FILES.items():
        if not name.endswith(".py"):
            continue
        path = tmp_path / Path(name).name
        path.write_text(text)
        dotted = name.removesuffix(".py").replace("/", ".")
        spec = importlib.util.spec_from_file_location(dotted, path)
        loaded[name] = importlib.util.module_from_spec(spec)
        monkeypatch.setitem(sys.modules, dotted, loaded[name])
        spec.loader.exec_module(loaded[name])
    return loaded


def test_there_is_no_such_file_yet():
    assert len(FILES) >= 7
    assert [name for name in FILES if (ROOT / name).exists() or not (ROOT / name).parent.is_dir()] == []


def test_the_tests_of_the_templates_pass(modules):
    tests = [
        function
        for name, module in modules.items()
        if name.startswith("tests/")
        for test, function in inspect.getmembers(module, inspect.isfunction)
        if test.startswith("test_")
    ]
    assert len(tests) >= 4
    for test in tests:
        test()


def test_the_network_keeps_the_contract(modules):
    network = modules["vestim_pl/networks/leaky.py"].LeakyNetwork(3, [12, 7]).eval().double()
    assert isinstance(network, Network)
    inputs = torch.randn(3, 61, 3, dtype=torch.float64)
    whole = network(inputs)
    torch.testing.assert_close(in_chunks(network, inputs, 7), whole, rtol=0, atol=1e-12)
    torch.testing.assert_close(network(inputs, None, 5)[0], whole[0][:, -5:], rtol=0, atol=1e-12)


@pytest.mark.parametrize(("name", "settings"), SETTINGS)
def test_the_settings_are_the_arguments_of_the_template(modules, name, settings):
    if name.startswith("conf/network/"):
        module = modules[f"vestim_pl/networks/{Path(name).stem}.py"]
        expected = {"name", "members", *argument_types(module.LeakyNetwork)} - {"features"}
        assert set(settings) == expected
    elif name.startswith("conf/scheduler/"):
        assert settings.pop("name") == Path(name).stem
        assert set(settings) == {"factor"}
    else:
        [(key, node)] = settings.items()
        assert key == Path(name).stem
        kind = modules[f"vestim_pl/callbacks/gradients/{key}.py"].WeightGrowth
        assert node.pop("_target_") == f"vestim_pl.callbacks.{kind.__name__}"
        assert set(node) == set(argument_types(kind))


def snippet(start: str) -> str:
    """The one untitled example that has this text."""
    [found] = [text for text in SNIPPETS if start in text]
    return found


def test_a_callback_finds_what_another_one_offers():
    names: dict = {}
    exec(compile(snippet("class TimesBatches"), "contributing.md", "exec"), names)
    events = []

    class Listener(names["BatchTimer"]):  # a project's own: it derives from no protocol
        def on_event(self, trainer, event):
            events.append((event.kind, event.step))

    trainer = Trainer(
        max_epochs=1, limit_train_batches=3, limit_val_batches=0, callbacks=[Listener(), names["SlowBatches"](0.0)],
        logger=False, enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False,
        accelerator="cpu",
    )  # fmt: skip
    trainer.fit(BoringModel())
    assert events == [("slow_batch", step) for step in (1, 2, 3)]


@pytest.mark.parametrize(("sampling", "severity"), [({"batch_size": 256}, "warning"), ({"lanes": 16}, "ok")])
def test_the_call_of_the_check_is_one_finding_for_both_samplings(modules, sampling, severity):
    check = modules["vestim_pl/diagnosis/checks/batch_count.py"].check_batch_count
    names = {"check_batch_count": check, "plan": Plan(5, 5, 1.0), "sampling": sampling}
    assert eval(snippet("check_batch_count(plan"), names).severity == severity


def test_the_schedule_multiplies_the_rate_after_every_epoch():
    names = {**vars(schedulers), "ExponentialLR": torch.optim.lr_scheduler.ExponentialLR}
    exec(compile(snippet("def _exponential"), "contributing.md", "exec"), names)
    builder = names["_exponential"]
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    built = builder(optimizer, lambda: 100, factor=0.5)
    rates = []
    for _ in range(3):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        built["scheduler"].step()
    assert (rates, built["interval"]) == ([1.0, 0.5, 0.25], "epoch")
    with pytest.raises(ConfigurationError, match=r"scheduler\.factor: 2"):
        builder(optimizer, lambda: 100, factor=2)
