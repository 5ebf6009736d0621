import argparse

import pytest

from vestim_pl.app.files_command import run_files_command
from vestim_pl.errors import DataError


def parser():
    found = argparse.ArgumentParser()
    found.add_argument("input")
    found.add_argument("--page")
    return found


def test_the_task_gets_path_options_and_overrides_in_any_order(tmp_path):
    seen = []
    arguments = [str(tmp_path), "data.resample=1", "--page", "x.html", "data.soc.capacity_ah=3"]
    assert run_files_command(lambda options: seen.append(options) or 3, parser(), arguments) == 3
    assert (seen[0].input, seen[0].page) == (str(tmp_path), "x.html")
    assert seen[0].overrides == ["data.resample=1", "data.soc.capacity_ah=3"]


@pytest.mark.parametrize(
    ("overrides", "line"),
    [
        (["sampling.lookback=3"], "error: sampling.lookback=3: is no setting of the data; give overrides such as"),
        (["data.resample=fast"], "error: data.resample: 'fast'"),
        (["data.resampel=1"], "error: data.resampel: no such key; did you mean data.resample?"),
    ],
)
def test_a_mistake_is_one_line_before_the_task_is_imported(tmp_path, capsys, overrides, line):
    assert run_files_command("no_such_module:task", parser(), [str(tmp_path), *overrides]) == 1
    shown = capsys.readouterr().err
    assert shown.startswith(line)
    assert shown.count("\n") == 1


def test_a_missing_folder_and_an_error_of_the_task_are_one_line(tmp_path, capsys):
    assert run_files_command("no_such_module:task", parser(), [str(tmp_path / "nowhere")]) == 1

    def task(options):
        raise DataError("a.csv: is empty")

    assert run_files_command(task, parser(), [str(tmp_path)]) == 1
    assert capsys.readouterr().err.splitlines() == [
        f"error: {tmp_path / 'nowhere'}: no such folder or file; give one with recordings",
        "error: a.csv: is empty",
    ]


def test_a_bug_of_ours_keeps_its_traceback(tmp_path):
    def task(options):
        raise KeyError("bug")

    with pytest.raises(KeyError):
        run_files_command(task, parser(), [str(tmp_path)])
