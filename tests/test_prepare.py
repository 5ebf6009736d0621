from tests.data.preparation.conftest import cell
from vestim_pl.prepare import main


def test_the_command_writes_and_says_what_trains(tmp_path, capsys):
    source = tmp_path / "drive.csv"
    cell().assign(Current=-cell()["Current"]).to_csv(source, index=False)
    target = tmp_path / "out"
    assert main([str(source), str(target)]) == 1
    assert "data.current_sign=discharge_positive" in capsys.readouterr().err
    assert main([str(source), str(target), "data.current_sign=discharge_positive"]) == 0
    shown = capsys.readouterr().out
    assert "its sign is turned (1 file)" in shown
    assert f"data.root={target}" in shown
    assert (target / "drive.parquet").is_file()


def test_an_output_with_files_is_refused(tmp_path, capsys):
    source = tmp_path / "drive.csv"
    cell().to_csv(source, index=False)
    assert main([str(source), str(tmp_path)]) == 1
    assert "is, holds, or lies in the input" in capsys.readouterr().err
