import pandas as pd
from hypothesis import given
from hypothesis import strategies as st

from vestim_pl.reports.csv_cells import original_cell, safe_cell, safe_table
from vestim_pl.reports.recording_errors import error_table
from vestim_pl.reports.run_folder import RunFolder
from vestim_pl.reports.sweep_report import write_sweep

HOSTILE = [
    "=1+1",
    "+cmd|' /C calc'!A0",
    "-2+3",
    "@SUM(A1)",
    "\t=1",
    "\r=1",
    " =1",
    "'=1",
    "''@x",
    "'plain",
    "a,b",
    "-5",
]
names = st.text(st.sampled_from("'=+-@ \t1eax"), max_size=6) | st.text(max_size=8) | st.sampled_from(HOSTILE)


@given(names)
def test_no_cell_is_a_formula_and_every_name_comes_back(name):
    cell = safe_cell(name)
    assert original_cell(cell) == name
    if cell.lstrip()[:1] in tuple("=+-@"):
        float(cell)  # a number, which a spreadsheet may take as one


def test_numbers_stay_numbers():
    frame = pd.DataFrame({"recording": ["-a"], "error": [-1.5], "steps": [-2]})
    assert safe_table(frame).to_csv(index=False) == "recording,error,steps\n'-a,-1.5,-2\n"


def test_a_run_folder_has_the_names_of_the_recordings_and_its_csv_file_no_formula(tmp_path):
    given = sorted(name for name in HOSTILE if "\r" not in name)
    steps = pd.DataFrame({"recording": given, "time": 0.0, "measured": 3.7, "estimated": 3.701})
    safe_table(error_table(steps)).to_csv(tmp_path / "test_errors.csv", index=False)
    assert RunFolder.read(tmp_path).errors["recording"].tolist() == [*given, "overall"]


def test_overrides_of_a_sweep_are_no_formulas(tmp_path):
    for job, value in enumerate(["=HYPERLINK(1)", "-2"]):
        folder = tmp_path / str(job) / ".hydra"
        folder.mkdir(parents=True)
        (folder / "overrides.yaml").write_text(f'- "+note={value}"\n')
        (folder / "config.yaml").write_text("{}\n")
    write_sweep(tmp_path)
    text = (tmp_path / "sweep.csv").read_text()
    assert text.startswith("job,'+note,state,")
    assert "\n0,'=HYPERLINK(1)," in text
    assert "\n1,-2," in text
