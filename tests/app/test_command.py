"""What `run_command` returns, and when it imports the task; each command in a fork, since Hydra configures logging."""

from tests.integration.forked import run_forked
from vestim_pl.app.command import run_command


def test_results_of_every_job_are_returned_in_order(tmp_path):
    done = run_forked(
        tmp_path, lambda: print("results", run_command(lambda config: len(config.path), "export")),
        ["-m", "ckpt_path=last", "path=a,bb"], lambda: None,
    )  # fmt: skip
    assert done.status == 0, done.err
    assert done.out.splitlines()[-1] == "results [1, 2]"


def test_a_task_is_imported_only_for_a_command_line_without_mistakes(tmp_path):
    def command() -> None:
        run_command("no_such_module:main", "export")

    wrong = run_forked(tmp_path, command, ["ckpt_path=last", "+pth=x"], lambda: None)
    assert wrong.status == 1
    assert wrong.err.startswith("error: pth: no such key; did you mean path?")
    right = run_forked(tmp_path, command, ["ckpt_path=last"], lambda: None)
    assert "No module named 'no_such_module'" in right.err
