"""A command that is shown can be pasted into the shell."""

import subprocess
import sys
from pathlib import Path

from vestim_pl.settings.command_line import command_line


def test_the_shell_gives_the_program_what_it_was_given(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("shown.py").write_text("import sys\nprint(sys.argv[1:])\n")
    arguments = ["network.hidden_sizes=[64, 32]", "data.root=my data", "+x='a,b'", "y=$HOME"]
    done = subprocess.run(command_line("shown", *arguments), shell=True, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == str(arguments)


def test_python_is_named_by_its_path_unless_it_is_the_one_on_the_path(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(Path(sys.executable).parent))
    assert command_line("json.tool") == "python -m json.tool"
    monkeypatch.setenv("PATH", str(tmp_path))
    assert command_line("json.tool") == f"{sys.executable} -m json.tool"
