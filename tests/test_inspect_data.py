import numpy as np
import pytest

from tests.data.preparation.conftest import cell
from vestim_pl.inspect_data import main


@pytest.fixture
def folder(tmp_path):
    for number, name in enumerate(("train/a", "val/b", "test/c")):
        frame = cell(seed=number)
        if name == "test/c":
            frame["Temp"] -= 30
        (tmp_path / "data" / name).parent.mkdir(parents=True)
        frame.assign(SOC=100 * frame["SOC"]).to_csv(tmp_path / "data" / f"{name}.csv", index=False)
    return tmp_path / "data"


def test_terminal_and_page_have_columns_evidence_coverage_and_the_command(folder, tmp_path, capsys):
    page = tmp_path / "page.html"
    assert main([str(folder), "--page", str(page)]) == 0
    shown = capsys.readouterr().out
    assert "time 'Time', current 'Current', voltage 'Voltage', temperature 'Temp', soc 'SOC'" in shown
    assert "3 files need data.units.soc=%" in shown
    assert "SOC is from" in shown
    assert "100 % of" in shown
    assert "coverage: test: about 100 % of the rows have a temperature outside" in shown
    command = shown.split("train with:\n")[1].strip()
    assert command.endswith(f"-m vestim_pl.train data=folder data.root={folder} data.units.soc=% +preset=fast")
    text = page.read_text()
    for part in ("can be trained", "data.units.soc=%", "test/c.csv", 'id="recordings"'):
        assert part in text


def test_nothing_usable_is_exit_status_1_with_the_reason(tmp_path, capsys):
    path = tmp_path / "drive.csv"
    cell().assign(Voltage=np.nan).to_csv(path, index=False)
    assert main([str(path), "--no-page"]) == 1
    shown = capsys.readouterr().out
    assert "not usable: drive.csv: column 'Voltage'" in shown
    assert "no training: no file can be used" in shown


def test_it_writes_nothing_beside_the_page(folder, tmp_path, monkeypatch):
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    before = sorted(folder.rglob("*"))
    assert main([str(folder)]) == 0
    assert [path.name for path in (tmp_path / "here").iterdir()] == ["inspection.html"]
    assert sorted(folder.rglob("*")) == before


def test_guessed_names_of_a_file_without_a_header_are_to_be_checked(tmp_path, capsys):
    path = tmp_path / "drive.csv"
    cell().to_csv(path, index=False, header=False)
    assert main([str(path), "--page", str(tmp_path / "page.html")]) == 0
    assert "check: 'data.csv.names=[Time,Current,Voltage,Temp" in capsys.readouterr().out
