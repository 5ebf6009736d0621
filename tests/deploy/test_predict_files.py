"""Which files are predicted, where they are written, and what they contain."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from vestim_pl.data.training_data import TrainingData
from vestim_pl.deploy import table_pieces
from vestim_pl.deploy.model import VoltageModel
from vestim_pl.deploy.predict_files import predict_file, predicted_files
from vestim_pl.errors import ConfigurationError, DataError, FileError
from vestim_pl.estimator import VoltageEstimator


@pytest.fixture
def model():
    torch.manual_seed(0)
    estimator = VoltageEstimator(["SOC", "Current", "Temp"], {"name": "LSTM", "hidden_sizes": [4]})
    estimator.scaler.fit(torch.randn(200, 3), 3.7 + 0.2 * torch.randn(200))
    return VoltageModel(estimator, TrainingData(ranges={"Temp": (0.0, 24.5)}))


def recording(rows: int = 300) -> pd.DataFrame:
    current = np.random.default_rng(0).normal(-1.0, 1.0, rows)
    soc = 0.9 + np.cumsum(current) / 3600 / 3
    frame = {"Time": np.arange(rows, dtype=float), "Current": current, "Voltage": 3.7 + 0.05 * current, "Temp": 25.0}
    return pd.DataFrame(frame | {"SOC": soc, "Step": "drive"})


@pytest.fixture
def folder(tmp_path):
    root = tmp_path / "in"
    (root / "cold").mkdir(parents=True)
    recording().to_csv(root / "a.csv", index=False)
    recording().to_parquet(root / "cold" / "b.parquet", index=False)
    (root / "notes.md").write_text("not a recording")
    return root


def targets(jobs, output):
    return [job.target.relative_to(output).as_posix() for job in jobs]


def test_a_folder_gives_the_same_tree_in_the_formats_in_which_it_came(folder, tmp_path):
    output = tmp_path / "out"
    assert targets(predicted_files(folder, output), output) == ["a.csv", "cold/b.parquet"]
    assert targets(predicted_files(folder, output, "csv"), output) == ["a.csv", "cold/b.csv"]
    assert targets(predicted_files(folder / "a.csv", output, "parquet"), output) == ["a.parquet"]


def test_files_that_would_have_the_same_name_keep_their_suffix(folder, tmp_path):
    recording().to_parquet(folder / "a.parquet", index=False)
    assert targets(predicted_files(folder, tmp_path, "csv"), tmp_path) == ["a.csv.csv", "a.parquet.csv", "cold/b.csv"]


def test_what_is_only_read_becomes_parquet_and_text_becomes_csv(tmp_path):
    for name in ("a.mat", "b.xlsx", "c.txt", "d.csv.gz", "e.001"):
        (tmp_path / name).write_bytes(b"x")
    output = tmp_path.parent / "out"
    assert targets(predicted_files(tmp_path, output), output) == ["a.parquet", "b.parquet", "c.csv", "d.csv", "e.csv"]


@pytest.mark.parametrize("where", [".", "predictions", "cold/x"])
def test_the_input_is_never_written_to(folder, where):
    with pytest.raises(ConfigurationError, match=r"^output: .* is in the input"):
        predicted_files(folder, folder / where)
    with pytest.raises(ConfigurationError, match=r"^output: .*a\.csv is the input"):
        predicted_files(folder / "a.csv", folder, existing="replace")


def test_files_that_are_there_are_refused_replaced_or_kept(folder, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "a.csv").write_text("mine")
    with pytest.raises(ConfigurationError, match=r"a\.csv exists; .* existing=replace .* existing=skip"):
        predicted_files(folder, tmp_path / "out")
    assert len(predicted_files(folder, tmp_path / "out", existing="replace")) == 2
    assert [job.label for job in predicted_files(folder, tmp_path / "out", existing="skip")] == ["cold/b.parquet"]


@pytest.mark.parametrize(
    ("make", "error"), [(lambda path: None, "does not exist"), (lambda path: path.mkdir(), "has no file of")]
)
def test_an_input_without_recordings_is_one_line(tmp_path, make, error):
    make(tmp_path / "in")
    with pytest.raises(DataError, match=f"^input: .*{error}"):
        predicted_files(tmp_path / "in", tmp_path / "out")


@pytest.mark.parametrize("kind", [None, "csv", "parquet"])
def test_a_file_has_its_own_columns_and_those_of_the_prediction(model, folder, tmp_path, kind):
    for job in predicted_files(folder, tmp_path / "out", kind):
        figures = predict_file(model, job)
        found = pd.read_csv(job.target) if job.kind == "csv" else pd.read_parquet(job.target)
        expected = model.predict(recording())
        pd.testing.assert_frame_equal(found, expected, check_dtype=False, atol=1e-5)
        assert (figures.rows, figures.outside_by["Temp"]) == (300, 300)


def test_a_file_larger_than_a_piece_gives_the_same_bytes(model, folder, tmp_path, monkeypatch):
    for job in predicted_files(folder, tmp_path / "whole"):
        predict_file(model, job)
    monkeypatch.setattr(table_pieces, "ROWS", 70)
    monkeypatch.setattr("vestim_pl.deploy.table_files.BATCH", 50)
    monkeypatch.setattr("vestim_pl.deploy.table_files._BLOCK", 3000)
    for job in predicted_files(folder, tmp_path / "pieces"):
        assert len(list(table_pieces.pieces(job.source, job.label, model.settings))) > 2
        predict_file(model, job)
    for name, read in (("a.csv", pd.read_csv), ("cold/b.parquet", pd.read_parquet)):
        whole, pieces = read(tmp_path / "whole" / name), read(tmp_path / "pieces" / name)
        pd.testing.assert_frame_equal(pieces, whole, atol=2e-3)
        np.testing.assert_allclose(pieces["estimated_v"], whole["estimated_v"], atol=2e-6)


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_a_resampled_file_has_the_rows_and_columns_of_the_preparation(model, tmp_path, kind):
    fast = recording().loc[lambda frame: frame.index.repeat(4)].assign(Time=np.arange(1200) / 4)
    fast.to_csv(tmp_path / "fast.csv", index=False)
    model.settings = replace(model.settings, resample=1.0)
    (job,) = predicted_files(tmp_path / "fast.csv", tmp_path / "out", kind)
    predict_file(model, job)
    found = pd.read_csv(job.target) if kind == "csv" else pd.read_parquet(job.target)
    assert len(found) == 300
    pd.testing.assert_frame_equal(found, model.predict(fast.reset_index(drop=True)), check_dtype=False, atol=1e-5)


def test_a_large_text_file_becomes_numbers_in_parquet(model, folder, tmp_path, monkeypatch):
    monkeypatch.setattr(table_pieces, "ROWS", 70)
    monkeypatch.setattr("vestim_pl.deploy.table_files._BLOCK", 3000)
    (job,) = predicted_files(folder / "a.csv", tmp_path / "out", "parquet")
    predict_file(model, job)
    pd.testing.assert_frame_equal(pd.read_parquet(job.target)[list(recording())], recording())
    late = recording().astype({"Temp": object}).assign(Code=[1] * 299 + ["end"])
    late.to_csv(folder / "a.csv", index=False)
    with pytest.raises(DataError, match=r"^a\.csv: column 'Code' .* use format=csv"):
        predict_file(model, job)


def test_a_bad_row_of_a_later_piece_is_named_by_its_place_in_the_file(model, folder, tmp_path, monkeypatch):
    monkeypatch.setattr(table_pieces, "ROWS", 70)
    monkeypatch.setattr("vestim_pl.deploy.table_files.BATCH", 50)
    bad = recording()
    bad.loc[250, "Temp"] = np.nan
    bad.to_parquet(folder / "cold" / "b.parquet", index=False)
    (job,) = predicted_files(folder / "cold", tmp_path / "out")
    with pytest.raises(DataError, match=r"column 'Temp', row 250 "):
        predict_file(model, job)
    assert list((tmp_path / "out").iterdir()) == [], "a part of a prediction is left"


def test_text_as_testers_write_it_becomes_a_plain_csv(model, tmp_path):
    frame = recording()
    text = frame.to_csv(index=False, sep=";", decimal=",")
    (tmp_path / "in.csv").write_text("Tester: X\nCell: Y\n" + text, encoding="cp1252")
    (job,) = predicted_files(tmp_path / "in.csv", tmp_path / "out")
    predict_file(model, job)
    found = pd.read_csv(job.target)
    assert list(found)[:6] == list(frame)
    np.testing.assert_allclose(found["estimated_v"], model.predict(frame)["estimated_v"], atol=2e-6)


def test_progress_counts_all_rows(model, folder, tmp_path):
    done: list[int] = []
    (job,) = predicted_files(folder / "a.csv", Path(tmp_path / "out"))
    predict_file(model, job, done.append)
    assert sum(done) == 300 == table_pieces.count_rows(job.source) - 1, "the header is a line too"


def test_an_output_that_is_a_file_is_one_line(model, folder, tmp_path):
    (tmp_path / "out").write_text("mine")
    with pytest.raises(FileError, match=r"^\S*a\.csv: cannot be written: \S*/out is a file, not a folder"):
        predict_file(model, predicted_files(folder / "a.csv", tmp_path / "out")[0])
