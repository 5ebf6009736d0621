"""Commands, links and examples of the README and of the pages under docs/ work as they stand."""

import importlib.util
import math
import re
import shlex
from pathlib import Path

import pytest
import torch
import yaml
from hydra.core.override_parser.overrides_parser import OverridesParser
from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import ModelCheckpoint

import vestim_pl.callbacks
from tests.composing import compose
from vestim_pl.app.configuration import check, choices, conf_folder, flat_keys
from vestim_pl.app.data_settings import compose_data
from vestim_pl.callbacks import StepGuard
from vestim_pl.lightning_support import protocols

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
PAGES = {path: path.read_text() for path in (ROOT / "README.md", *sorted(DOCS.rglob("*.md")))}
COMMANDS = sorted(
    {
        line.strip().removeprefix("srun ")
        for text in PAGES.values()
        for block in re.findall(r"```bash\n(.*?)```", text, flags=re.DOTALL)
        for line in block.replace("\\\n", " ").splitlines()
        if re.match(r"\s*(srun )?python |\./scripts/", line)
    }
)
# What docs/contributing.md adds.
UNFINISHED = {"network=leaky", "callbacks=[default,weight_growth]", "scheduler=exponential"}


def first_job(overrides: list[str]) -> list[str]:
    """The overrides of the first job of a multirun."""
    parsed = [OverridesParser.create().parse_override(override) for override in overrides]
    return [
        f"{one.get_key_element()}={next(one.sweep_string_iterator())}" if one.is_sweep_override() else one.input_line
        for one in parsed
    ]


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_exists_and_composes(command):
    program, *words = shlex.split(command, comments=True)
    if program == "python" and words[0] != "-m":
        assert (ROOT / words[0]).is_file()
        return
    if program.startswith("./"):
        assert (ROOT / program).is_file()
        if program != "./scripts/train":
            assert all((ROOT / word).exists() for word in words if "/" in word and "=" not in word)
            return
        words = ["-m", "vestim_pl.train", *words]
    module, words = words[1], words[2:]
    assert importlib.util.find_spec(module), f"there is no {module}"
    overrides = [word for word in words if "=" in word]
    if module in ("vestim_pl.inspect_data", "vestim_pl.prepare"):
        folder, *_ = (word for word in words if "=" not in word)
        compose_data(Path(folder), overrides)
        return
    if module.startswith(("vestim_pl.vestim", "vestim_pl.replay", "vestim_pl.reports.")) or any(
        word.startswith("vestim=") for word in words
    ):
        return  # they need a file or a folder: their own tests run them
    if UNFINISHED & set(overrides):
        return
    assert set(words) - set(overrides) <= {"-m", "--config-dir", "."}
    overrides = [word for word in overrides if word != "+preset=hyperparams"]  # which `convert` has written
    for word in overrides:  # train and others refuse a checkpoint that is not there
        if word.startswith(("ckpt_path=", "checkpoint=")):
            for path in map(Path, re.findall(r"[^\s\[\],=]+\.ckpt", word)):
                path.parent.mkdir(parents=True, exist_ok=True)
                path.touch()
    check(compose(*first_job(overrides), command=module.rpartition(".")[2]))
    assert "-m" in words or first_job(overrides) == overrides, "several values without -m"


GROUPS = sorted(path.name for path in conf_folder().iterdir() if path.is_dir())
NO_SETTINGS = {
    "optimizer.step",  # the method
    "callbacks.checkpoint.every_n_train_steps",  # docs/checkpoints.md says that it is refused
    "trainer.max_time",  # docs/vestim.md: the conversion adds it to the tree
}
SETTINGS = sorted(
    {
        quoted.strip("'")
        for text in PAGES.values()
        for quoted in re.findall(r"`([^`\n]+)`", re.sub(r"```.*?```", "", text, flags=re.DOTALL))
        if re.fullmatch(r"'?\+{0,2}[\w.]+(=\S*)?", quoted)
        and quoted.partition("=")[0].partition(".")[0].lstrip("'+") in GROUPS
        and "NAME" not in quoted
        and quoted not in NO_SETTINGS
    }
)


@pytest.fixture(scope="module")
def keys() -> set[str]:
    """Every key of the tree, whatever is chosen."""
    callbacks = f"callbacks=[{','.join(choices('callbacks'))}]"
    groups = ("scheduler", "sampling", "optimizer", "network")
    ways = [[], [callbacks], *([f"{group}={name}"] for group in groups for name in choices(group))]
    ways += [[f"+preset={name}"] for name in choices("preset")]
    found: set[str] = set()
    for way in ways:
        found.update(flat_keys(compose(*way)))
    return found


@pytest.mark.parametrize("setting", SETTINGS)
def test_every_setting_named_exists(setting, keys):
    key, _, value = setting.lstrip("+").partition("=")
    if key.startswith("hydra."):  # Hydra's own, which its documentation lists
        return
    if key in GROUPS:
        names = re.findall(r"\w+", value)  # one, or a list of them
        assert set(names) <= set(choices(key)) | {"leaky", "weight_growth"}, f"{key} has {choices(key)}"
    elif setting.startswith("+"):
        assert any(each.startswith(f"{key.rpartition('.')[0]}.") for each in keys)
    else:
        assert key in keys or any(each.startswith(f"{key}.") for each in keys)


LINKS = sorted(
    {
        (path.relative_to(ROOT).as_posix(), target)
        for path, text in PAGES.items()
        for target in re.findall(r"\]\(([^)\s]+)\)", re.sub(r"```.*?```", "", text, flags=re.DOTALL))
        if not target.startswith("http")
    }
)


@pytest.mark.parametrize(("page", "target"), LINKS)
def test_every_link_leads_somewhere(page, target):
    path, _, anchor = target.partition("#")
    file = (ROOT / page).parent / path if path else ROOT / page
    assert file.exists()
    if anchor:
        headings = re.findall(r"^#+ (.*)", file.read_text(), re.MULTILINE)
        assert anchor in {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_the_navigation_has_every_page_and_every_callback_has_one():
    navigation = yaml.safe_load((ROOT / "mkdocs.yml").read_text())["nav"]
    listed = re.findall(r"'([^']+\.md)'", str(navigation))
    assert sorted(listed) == sorted(path.relative_to(DOCS).as_posix() for path in DOCS.rglob("*.md"))
    pages = {path.read_text().splitlines()[0].removeprefix("# ") for path in (DOCS / "callbacks").glob("*.md")}
    assert pages - {"Callbacks"} == set(vestim_pl.callbacks.__all__)
    overview = (DOCS / "callbacks" / "index.md").read_text()
    assert set(re.findall(r"^\| \[(\w+)\]", overview, re.MULTILINE)) == set(vestim_pl.callbacks.__all__)
    for name in vestim_pl.callbacks.__all__:
        [page] = [path for path in (DOCS / "callbacks").glob("*.md") if path.read_text().startswith(f"# {name}\n")]
        assert f"::: vestim_pl.callbacks.{name}\n" in page.read_text()


def test_the_table_of_events_has_every_kind_that_is_published():
    """Kinds are literals at the calls of `publish`, on the line of the call or on the next one."""
    sources = "\n".join(path.read_text() for path in (ROOT / "vestim_pl").rglob("*.py"))
    published = set(re.findall(r"\bpublish\(\s*(?:self\.)?trainer,\s*\"(\w+)\"", sources))
    assert len(published) > 10
    table = (DOCS / "troubleshooting.md").read_text().split("## All events")[1]
    kinds = {kind for cell in re.findall(r"^\| (`.*?`) \|", table, re.MULTILINE) for kind in re.findall(r"\w+", cell)}
    assert kinds == published


def test_the_architecture_names_every_protocol_with_its_members_and_every_layer():
    text = (DOCS / "architecture.md").read_text()
    rows = dict(
        re.findall(r"^\| `(\w+)` \| (`.*?`) \|", text.split("## What callbacks offer each other")[1], re.MULTILINE)
    )
    listed = {
        name for name, kind in vars(protocols).items() if getattr(kind, "_is_protocol", False) and name != "Protocol"
    }
    assert set(rows) == listed
    for name, members in rows.items():
        kind = getattr(protocols, name)
        expected = {each for each in {*vars(kind), *vars(kind).get("__annotations__", {})} if not each.startswith("_")}
        assert {re.match(r"\w+", member)[0] for member in re.findall(r"`(.*?)`", members)} == expected
    table = text.split("## Layers")[1].split("\n## ")[0]
    modules = {
        path.stem for path in (ROOT / "vestim_pl").iterdir() if path.suffix == ".py" or (path / "__init__.py").exists()
    }
    assert modules - {"__init__"} <= set(re.findall(r"`(\w+)`", table))


def test_the_overview_of_callbacks_runs(monkeypatch, tmp_path):
    [code] = re.findall(r"```python\n(.*?)```", (DOCS / "callbacks" / "index.md").read_text(), flags=re.DOTALL)
    names: dict = {}
    exec(compile(code, "index.md", "exec"), names)
    order = [type(callback).__name__ for callback in names["trainer"].callbacks]
    assert order.index("StepGuard") < order.index("FiniteParameterGuard") < order.index("DivergenceRecovery")


@pytest.fixture
def example(monkeypatch) -> dict:
    """Names of the page on truncated backpropagation, after its training."""
    [code] = re.findall(r"```python\n(.*?)```", (DOCS / "truncated_backpropagation.md").read_text(), flags=re.DOTALL)
    original = Trainer.__init__

    def quiet(self, **options):
        options = {"logger": False, "enable_progress_bar": False, "enable_checkpointing": False} | options
        original(self, **options, accelerator="cpu", enable_model_summary=False)

    monkeypatch.setattr(Trainer, "__init__", quiet)
    torch.manual_seed(0)
    names: dict = {}
    exec(compile(code, "truncated_backpropagation.md", "exec"), names)
    return names


def test_a_foreign_module_learns_from_streams(example):
    batch = next(iter(example["loader"]))
    module = example["Oscillator"]()
    untrained = module.training_step(batch, 0)
    trained = example["trainer"].lightning_module
    trained.carried = None
    with torch.no_grad():
        loss = trained.training_step(batch, 0)
    assert loss < 0.01 * untrained
    assert example["trainer"].global_step == 20 * len(example["loader"])


def test_a_foreign_module_resumes_within_an_epoch(example, tmp_path):
    """Accumulation, clipping and a callback are on; stopped in the third epoch and resumed equals never stopped."""

    def fit(module, steps, ckpt_path=None):
        torch.manual_seed(0)
        sampler = example["StreamBatchSampler"]([900, 400, 700], chunk=50, lanes=4, burn_in=10, seed=1)
        loader = example["ResumableLoader"](example["Chunks"](), sampler)
        checkpoint = ModelCheckpoint(tmp_path, "{step}", every_n_train_steps=steps, save_top_k=-1)
        trainer = Trainer(
            max_steps=steps, max_epochs=-1, gradient_clip_val=0.5, accumulate_grad_batches=2, enable_checkpointing=True,
            callbacks=[StepGuard(), checkpoint],
        )  # fmt: skip
        trainer.fit(module, loader, ckpt_path=ckpt_path, weights_only=True if ckpt_path else None)
        return module

    updates = math.ceil(len(example["loader"]) / 2)  # in an epoch
    assert updates > 3
    start = example["Oscillator"]().state_dict()

    def fresh():
        module = example["Oscillator"]()
        module.load_state_dict(start)
        return module

    stop, end = 2 * updates + 2, 3 * updates + 1
    whole = fit(fresh(), end)
    fit(fresh(), stop)
    resumed = fit(fresh(), end, tmp_path / f"step={stop}.ckpt")
    for (name, left), right in zip(whole.named_parameters(), resumed.parameters(), strict=True):
        assert torch.equal(left, right), name
    assert all(torch.equal(left, right) for left, right in zip(whole.carried, resumed.carried, strict=True))
