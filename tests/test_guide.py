"""docs/guide.md answers every part of VEstim's debugging guide, by commands, settings and callbacks that exist."""

import importlib.util
import inspect
import re
import shlex
from pathlib import Path

import hydra
import pytest
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import DictConfig

import vestim_pl.callbacks
import vestim_pl.diagnosis
from vestim_pl.app.configuration import check, choices, conf_folder, flat_keys

ROOT = Path(__file__).resolve().parents[1]
PAGE = (ROOT / "docs" / "guide.md").read_text()

# Every heading of the guide in our words, and in brackets what its list under that heading counts.
PARTS = [
    "## The problem",
    "## Root cause 1: clipping at 0.5",
    "## Root cause 2: a lookback of 400",
    "## Root cause 3: 10 hidden units in one layer",
    "## Root cause 4: no weight decay",
    "## Fixes it describes",
    "| Fix 1: the threshold goes from 0.5 to 1.0 |",
    "| Fix 2: clip LSTM, GRU, LSTM_EMA and LSTM_LPF alike |",
    "| Fix 3: check all parameters after every update |",
    "## Option 1: safer training",
    "## Option 2: more capacity",
    "## Option 3: a lookback of 400 after all",
    "## Why that configuration failed",
    "## The quick test",
    "## The diagnostic message and its three remedies",
    "| Reduce the learning rate to a tenth |",
    "| Halve the lookback |",
    "| Triple the network |",
    "## Safeguards it counts as present",
    "## Summary of its changes",
    "## Next steps it gives",
    "## Long-term recommendations",
    "## References it names",
]
ROWS = {"Safeguards it counts as present": 6, "Next steps it gives": 5, "Long-term recommendations": 5}

COMMANDS = [
    line
    for block in re.findall(r"```bash\n(.*?)```", PAGE, flags=re.DOTALL)
    for line in block.replace("\\\n", " ").splitlines()
]
QUOTED = sorted(set(re.findall(r"`([^`\n]+)`", re.sub(r"```.*?```", "", PAGE, flags=re.DOTALL))))
GROUPS = sorted(path.name for path in conf_folder().iterdir() if path.is_dir())


def compose(name: str, overrides: list[str]) -> DictConfig:
    GlobalHydra.instance().clear()
    with hydra.initialize_config_dir(str(conf_folder()), version_base="1.3"):
        return hydra.compose(name, ["run_dir=run", *overrides])


def first_job(overrides: list[str]) -> list[str]:
    """The overrides of the first job of a multirun."""
    parsed = [OverridesParser.create().parse_override(override) for override in overrides]
    return [
        f"{one.get_key_element()}={next(one.sweep_string_iterator())}" if one.is_sweep_override() else one.input_line
        for one in parsed
    ]


def test_every_part_of_the_guide_has_its_place_on_the_page():
    assert [part for part in PARTS if f"\n{part}" not in PAGE] == []
    for heading, rows in ROWS.items():
        section = PAGE.split(f"## {heading}\n")[1].split("\n## ")[0]
        assert len(re.findall(r"^\| (?!the guide says|-)", section, flags=re.MULTILINE)) == rows, heading


def test_nothing_is_left_to_fill_in():
    assert not re.findall(r"@[A-Z_]+@|TODO|XXX", PAGE)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_exists_and_composes(command):
    program, *words = shlex.split(command)
    if program.startswith("./"):
        assert (ROOT / program).is_file()
        assert not words
        return
    assert program == "python"
    if words[0] != "-m":
        assert (ROOT / words[0]).is_file()
        return
    module, words = words[1], words[2:]
    assert importlib.util.find_spec(module), f"there is no {module}"
    overrides = [word for word in words if "=" in word]
    if any(word.startswith("vestim=") for word in words) or module == "vestim_pl.vestim":
        return  # they need a file: its own tests run them
    assert set(words) - set(overrides) <= {"-m"}
    config = compose(module.rpartition(".")[2], first_job(overrides))
    check(config)
    assert "-m" in words or first_job(overrides) == overrides, "several values without -m"


@pytest.mark.parametrize("quoted", [text for text in QUOTED if re.fullmatch(r"[A-Z][a-z]+[A-Z]\w+", text)])
def test_every_callback_named_exists(quoted):
    assert quoted in vestim_pl.callbacks.__all__


@pytest.mark.parametrize("name", sorted(set(re.findall(r"checks? `([a-z -]+)`", PAGE))))
def test_every_check_named_exists(name):
    folder = Path(vestim_pl.diagnosis.__file__).parent
    found = re.findall(r'^CHECK = "(.*)"', "\n".join(p.read_text() for p in folder.rglob("*.py")), flags=re.MULTILINE)
    assert name in found


@pytest.fixture(scope="module")
def keys() -> set[str]:
    """Every key of the tree, whatever is chosen."""
    callbacks = f"callbacks=[{','.join(choices('callbacks'))}]"
    ways = [
        [f"{group}={name}"] for group in ("scheduler", "sampling", "optimizer", "network") for name in choices(group)
    ]
    return {key for way in ([], [callbacks], *ways) for key in flat_keys(compose("train", way))}


SETTINGS = [
    text
    for text in QUOTED
    if re.fullmatch(r"\+?[\w.]+(=\S+)?", text)
    and text.partition("=")[0].partition(".")[0].lstrip("+") in (*GROUPS, "vestim")
    and not text.endswith((".py", ".md", ".csv"))
]


@pytest.mark.parametrize("setting", SETTINGS)
def test_every_setting_named_exists(setting, keys):
    key, _, value = setting.lstrip("+").partition("=")
    if key == "vestim":
        assert importlib.util.find_spec("vestim_pl.vestim")
    elif key in GROUPS:
        names = re.findall(r"\w+", value)  # one, or a list of them
        assert set(names) <= set(choices(key)), f"{key} has {choices(key)}"
    else:
        assert key in keys


@pytest.mark.parametrize("target", sorted(set(re.findall(r"\]\(([^)]+)\)", PAGE))))
def test_every_link_leads_somewhere(target):
    path, _, anchor = target.partition("#")
    page = (ROOT / "docs" / path).read_text() if path else PAGE
    anchors = {re.sub(r"[^\w -]", "", h.lower()).replace(" ", "-") for h in re.findall(r"^#+ (.*)", page, re.MULTILINE)}
    assert not anchor or anchor in anchors


def test_what_the_page_says_of_the_message_is_what_the_guard_prints():
    [divergence_message] = [
        function
        for name, function in inspect.getmembers(inspect.getmodule(vestim_pl.callbacks.FiniteParameterGuard))
        if name == "divergence_message"
    ]
    shown = " ".join(re.findall(r"```text\n(.*?)```", PAGE, flags=re.DOTALL)[0].split())
    assert shown == divergence_message(
        "model parameters became NaN/Inf after optimizer step 12", epoch=3, batch=7, learning_rate=1e-4,
        where=["lstm.weight (8 NaN of 8)"], lookback=400, hidden_sizes=[10],
    )  # fmt: skip
