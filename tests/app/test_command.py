"""What `run_command` returns, and when it imports the task; each command in a fork, since Hydra configures logging."""

import pytest

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


@pytest.mark.parametrize(
    ("command", "arguments", "said"),
    [
        ("train", ["sampling.lookback=abc"], "error: sampling.lookback: 'abc' does not fit"),
        ("train", ["optimizer.lr=-1"], "error: optimizer.lr: -1 is not positive"),
        ("train", ["run_dir=elsewhere"], "error: run_dir: elsewhere is not where Hydra writes"),
        ("evaluate", ["ckpt_path=none.ckpt"], "error: ckpt_path: none.ckpt is not a file"),
        ("evaluate", [], "error: ckpt_path: has no value"),
    ],
)
def test_a_mistake_leaves_no_folder_and_moves_no_earlier_run(tmp_path, command, arguments, said):
    run = tmp_path / "used"
    (run / ".hydra").mkdir(parents=True)
    (run / "train.log").write_text("an earlier run")
    for folder in ([], ["hydra.run.dir=used"]):
        done = run_forked(tmp_path, lambda: run_command("no:main", command), [*arguments, *folder], lambda: None)
        assert (done.status, done.out) == (1, "")
        assert done.err.startswith(said)
        assert len(done.err.splitlines()) == 1
    assert sorted(path.name for path in tmp_path.rglob("*")) == [".hydra", "train.log", "used"]
