import json
import math

import pandas as pd
import pytest
from rich.console import Console

from vestim_pl.reports.sweep_report import write_sweep
from vestim_pl.reports.sweep_table import sweep_table

HEAD = "epoch,step,val/rmse_mv,train/loss\n"


def job(folder, name, overrides, metrics="", log=(), tested=None):
    path = folder / name
    (path / ".hydra").mkdir(parents=True)
    (path / ".hydra" / "overrides.yaml").write_text("".join(f"- {item}\n" for item in overrides))
    (path / ".hydra" / "config.yaml").write_text("trainer:\n  max_epochs: 2\n")
    (path / "train.log").write_text("".join(f"{line}\n" for line in log))
    if metrics:
        (path / "metrics.csv").write_text(HEAD + metrics)
    if tested is not None:
        errors = pd.DataFrame({"recording": ["a", "overall"], "steps": 5, "rmse_mv": [1.0, tested]})
        errors.assign(mae_mv=1.0, max_error_mv=9.0).to_csv(path / "test_errors.csv", index=False)
        (path / "report.html").write_text("")


@pytest.fixture
def sweep(tmp_path):
    fixed = ["+preset=safer", "seed=0"]
    clock = ("10:00:00 begins", "10:01:30 ends")
    job(tmp_path, "0", ["optimizer.lr=1e-3", *fixed], "0,4,50.0,\n1,9,40.0,\n", clock, tested=44.0)
    job(tmp_path, "1", ["optimizer.lr=1", *fixed], "0,4,60.0,\n1,9,nan,\n", clock)
    job(tmp_path, "2", ["optimizer.name=Nonsense", *fixed], log=["error: optimizer.name: 'Nonsense' is none"])
    job(tmp_path, "10", ["optimizer.lr=1e-4", *fixed], "0,4,30.0,\n1,9,20.0,\n", clock, tested=22.0)
    (tmp_path / "notes").mkdir()
    return tmp_path


def test_every_job_is_in_the_table_with_how_it_ended(sweep):
    table = sweep_table(sweep)
    assert table["job"].tolist() == ["10", "0", "1", "2"]
    assert table.attrs["swept"] == ["optimizer.lr", "optimizer.name"]
    assert table["optimizer.lr"].tolist() == ["1e-4", "1e-3", "1", ""]
    assert table["state"].tolist() == ["finished", "finished", "diverged", "failed"]
    assert table["val_rmse_mv"].tolist()[:3] == [20.0, 40.0, 60.0]
    assert table["test_rmse_mv"].tolist()[:2] == [22.0, 44.0]
    assert table.loc[2:, "test_rmse_mv"].isna().all()
    assert table["epochs"].tolist() == [2, 2, 2, 0]
    assert table["seconds"].tolist()[:3] == [90.0] * 3
    assert math.isnan(table["val_rmse_mv"].iloc[3])
    assert "Nonsense" in table["reason"].iloc[3]


def test_the_files_and_the_terminal_have_it(sweep):
    console = Console(record=True, width=120)
    page = write_sweep(sweep, console).read_text()
    assert pd.read_csv(sweep / "sweep.csv")["job"].tolist() == [10, 0, 1, 2]
    assert '<a href="10/report.html">10</a>' in page
    assert 'href="2/report.html"' not in page, "it has none"
    plots = json.loads(page.partition('id="plots">')[2].partition("</script>")[0])
    assert set(plots) == {"setting_0", "curves"}, "a setting with one value among the jobs that ran is not drawn"
    assert plots["setting_0"]["layout"]["xaxis"]["ticktext"] == ["1e-4", "1e-3", "1"]
    assert [curve["y"] for curve in plots["curves"]["data"]] == [[30.0, 20.0], [50.0, 40.0], [60.0, None]]
    assert "Nonsense" in page
    lines = console.export_text().splitlines()
    assert [line.split("│")[1].strip() for line in lines if line.startswith("│")] == ["10", "0", "1", "2"]


def test_a_sweep_without_results_gets_a_page(tmp_path):
    assert "No job wrote any results" in write_sweep(tmp_path, Console(record=True)).read_text()


def test_a_folder_that_is_none_is_refused(tmp_path):
    with pytest.raises(NotADirectoryError, match="multirun/<date>/<time>"):
        sweep_table(tmp_path / "nowhere")
