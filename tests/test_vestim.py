"""The command that takes over VEstim's files, in this process; its page of documentation."""

import json
import re
from pathlib import Path

import pytest

from vestim_pl.app.vestim import KEYS, reference
from vestim_pl.vestim import main

PAGE = Path(__file__).resolve().parents[1] / "docs" / "vestim.md"


@pytest.fixture
def file(tmp_path) -> Path:
    path = tmp_path / "my run.json"
    path.write_text(json.dumps({"LOOKBACK": "200", "PIN_MEMORY": True, "LOKBACK": "3"}))
    return path


def test_it_writes_a_preset_and_prints_key_value_and_what_became_of_it(file, tmp_path, capsys):
    assert main(["convert", str(file)]) == 0
    told = capsys.readouterr().out
    assert re.search(r"^LOOKBACK +200 +sampling\.lookback=200$", told, flags=re.MULTILINE)
    assert re.search(r"^PIN_MEMORY +true +left out: ", told, flags=re.MULTILINE)
    assert "unknown; the nearest known key is LOOKBACK" in told
    assert "--config-dir . +preset=my_run" in told
    assert "lookback: 200" in (tmp_path / "preset" / "my_run.yaml").read_text()


def test_the_horizon_can_be_asked_for(file, tmp_path):
    assert main(["convert", str(file), "own/a.yaml", "--horizon", "0"]) == 0
    assert re.search(r"horizon: 0 +# as requested", (tmp_path / "own" / "a.yaml").read_text())


def test_nothing_is_written_over_without_force(file, capsys):
    assert [main(["convert", str(file)]), main(["convert", str(file)]), main(["convert", str(file), "--force"])] == [
        0,
        1,
        0,
    ]
    assert "already exists" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["convert", "none.json"], "none.json: does not exist"),
        (["convert", "my run.json", "own/a b.yaml"], "write to preset/a_b.yaml"),
        (["convert", "my run.json", "file/a.yaml"], "cannot be written"),
    ],
)
def test_a_mistake_is_one_line_and_a_status(file, tmp_path, capsys, arguments, said):
    (tmp_path / "file").write_text("")
    assert main(arguments) == 1
    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ")
    assert said in line


def test_what_is_to_be_searched_is_written_beside_and_said(tmp_path, capsys):
    (tmp_path / "s.json").write_text(json.dumps({"LOOKBACK": "[100, 400]"}))
    assert main(["convert", "s.json"]) == 0
    told = capsys.readouterr().out
    assert "There is no search command yet" in told
    assert told.rstrip().endswith("sampling.lookback=100")
    assert "low: 100" in (tmp_path / "preset" / "s.search.yaml").read_text().replace('"', "")


def test_the_page_has_the_table_of_all_keys(capsys):
    assert main(["keys"]) == 0
    assert capsys.readouterr().out.strip() == reference()
    assert reference() in PAGE.read_text(), "python -m vestim_pl.vestim keys prints the table for docs/vestim.md"
    assert all(f"`{key}`" in reference() for key in KEYS)
