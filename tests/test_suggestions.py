"""Every override that a message suggests can be pasted: the shell and Hydra read it, and the key exists."""

import ast
import re
import shlex
from collections.abc import Iterator
from inspect import signature
from pathlib import Path

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from lightning.pytorch import Trainer

import vestim_pl
from tests.composing import compose
from vestim_pl.app.conf_tree import choices, flat_keys

PACKAGE = Path(vestim_pl.__file__).parent
COMMANDS = ("train", "diagnose", "evaluate", "export")
WORD = r"[+~]{0,2}(?:%s)(?:\.\w+)*=(?:'[^']*'|\[[^\]]*\]|[^\s,;:)?]*)"
OF_NO_COMMAND = {"preset", "hydra.mode"}  # a comment in a file, Hydra's own key
AS_IT_IS = {"stride", "fitting", "number", "self.lookback", "self.burn_in", "burn_in"}  # numbers
AS_IT_IS |= {"override"}  # the name of a preset
PLACES = re.compile(r"\.\.\.|DIR|^$|=[A-Z]?$")  # "hydra.run.dir=..." names a setting, not a value


@pytest.fixture(scope="module")
def keys() -> set[str]:
    found = {"hydra.run.dir"}
    for command in COMMANDS:
        found |= set(flat_keys(compose(command=command)))
    return found | {"scheduler.period", "network.heads", "network.history", "sampling.burn_in"}


def messages(path: Path) -> Iterator[tuple[int, str]]:
    """Texts of a file without docstrings; a value in an f-string becomes ``<expression>``."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    inside = {id(part) for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) for part in ast.walk(node)} - {
        id(node) for node in ast.walk(tree) if isinstance(node, ast.JoinedStr)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            inside.add(id(node.value))
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            parts = (
                str(part.value) if isinstance(part, ast.Constant) else f"<{ast.unparse(part.value)}>"  # type: ignore[attr-defined]
                for part in node.values
            )
            yield node.lineno, "".join(parts)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in inside:
            yield node.lineno, node.value


def suggestions() -> list[tuple[str, str]]:
    groups = sorted({key.partition(".")[0] for name in COMMANDS for key in map(str, compose(command=name))})
    pattern = re.compile(r"(?<![\w./'])" + WORD % "|".join([*groups, "hydra", "preset"]))
    return [
        (f"{path.relative_to(PACKAGE)}:{line}", found.group(0).rstrip("."))
        for path in sorted(PACKAGE.rglob("*.py"))
        for line, text in messages(path)
        for found in pattern.finditer(text)
    ]


FOUND = suggestions()


def test_the_search_finds_them():
    assert len(FOUND) > 30
    assert {"data.on_bad_file=skip", "trainer.devices=1", "checkpoint_every='500 steps'"} <= {word for _, word in FOUND}


@pytest.mark.parametrize(("where", "word"), FOUND, ids=[f"{where} {word}" for where, word in FOUND])
def test_a_suggestion_in_a_message_can_be_pasted(where, word, keys):
    for value in re.findall(r"<([^>]*)>", word):
        assert value in AS_IT_IS, f"{where}: {word} writes a value as it is; use vestim_pl.settings.override.Override"
    key, _, value = re.sub(r"<[^>]*>", "3", word).partition("=")
    if PLACES.search(value):
        key, value = key, "x"
    (typed,) = shlex.split(f"{key}={value}")
    override = OverridesParser.create().parse_override(typed)
    name = override.key_or_group
    if override.is_add() and name.startswith("trainer."):
        assert name.removeprefix("trainer.") in signature(Trainer).parameters
        return
    assert name in keys | OF_NO_COMMAND or choices(name), f"{where}: no command has {name}"
    if choices(name) and isinstance(override.value(), str) and override.value() != "x":
        assert override.value() in choices(name), f"{where}: {name} has no {override.value()}"
