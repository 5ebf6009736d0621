"""A checkpoint in Python: tables in and out, sample by sample, in pieces, and files that cannot be used."""

import ast
import re
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
import torch

import vestim_pl
from vestim_pl.data import PreparationSettings
from vestim_pl.data.training_data import Evaluation, TrainingData
from vestim_pl.deploy.intervals import PredictionIntervals
from vestim_pl.deploy.model import VoltageModel
from vestim_pl.errors import ConfigurationError, DataError
from vestim_pl.estimator import VoltageEstimator

INTERVALS = PredictionIntervals(0.9, 2, torch.tensor([10.0]), torch.tensor([0.03, 0.01]), torch.tensor([20, 30]))
RANGES = {"SOC": (0.0, 1.0), "Current": (-6.0, 3.0), "Temp": (0.0, 40.0)}


@pytest.fixture
def estimator():
    torch.manual_seed(0)
    data = TrainingData(ranges=RANGES, evaluation=Evaluation("streams", burn_in=5)).to_dict()
    preparation = PreparationSettings(interval=1.0).to_dict()
    estimator = VoltageEstimator(
        ["SOC", "Current", "Temp"], {"name": "LSTM", "hidden_sizes": [6]}, data=data, preparation=preparation
    )
    estimator.scaler.fit(torch.randn(200, 3) * torch.tensor([0.3, 3.0, 10.0]), 3.7 + 0.2 * torch.randn(200))
    return estimator


@pytest.fixture
def checkpoint(estimator, tmp_path):
    content = {
        "state_dict": estimator.state_dict(),
        "hyper_parameters": dict(estimator.hparams),
        "prediction_intervals": INTERVALS.to_tensors(),
    }
    torch.save(content, tmp_path / "best.ckpt")
    return tmp_path / "best.ckpt"


@pytest.fixture
def frame():
    generator = np.random.default_rng(0)
    current = generator.normal(-1.0, 1.0, 40)
    return pd.DataFrame(
        {
            "Time": np.arange(40.0),
            "Current": current,
            "Temp": np.linspace(5.0, 15.0, 40),
            "SOC": 0.9 + np.cumsum(current) / 3600 / 3,
            "Voltage": 3.7 + 0.05 * current,
            "Step": "drive",
        }
    )


@torch.no_grad()
def offline(estimator, frame):
    inputs = torch.tensor(frame[["SOC", "Current", "Temp"]].to_numpy(np.float32))
    return estimator.eval()(inputs[None])[0][0].numpy()


def test_a_table_comes_back_with_the_columns_of_the_prediction(checkpoint, estimator, frame):
    frame.index = pd.date_range("2031-01-01", periods=40)
    found = vestim_pl.load(checkpoint).predict(frame)
    pd.testing.assert_frame_equal(found[frame.columns], frame)
    np.testing.assert_allclose(found["estimated_v"], offline(estimator, frame), atol=2e-6)
    np.testing.assert_allclose(found["error_mv"], 1000 * (found["estimated_v"] - frame["Voltage"]), atol=1e-3)
    half = np.where(frame["Temp"] < 10, 0.03, 0.01)
    assert found["lower_v"].isna().tolist() == [True] * 5 + [False] * 35, "the first rows were not calibrated"
    np.testing.assert_allclose((found["upper_v"] - found["estimated_v"])[5:], half[5:], atol=1e-6)
    np.testing.assert_allclose((found["estimated_v"] - found["lower_v"])[5:], half[5:], atol=1e-6)
    assert set(found["outside_training_range"]) == {""}


def test_rows_outside_the_training_range_name_the_features(checkpoint, frame):
    frame.loc[3, "Temp"], frame.loc[3, "Current"], frame.loc[4, "Temp"] = -1.0, -7.0, 41.0
    model = vestim_pl.load(checkpoint)
    marks = model.predict(frame)["outside_training_range"]
    assert marks.iloc[[2, 3, 4]].tolist() == ["", "Current Temp", "Temp"]
    prediction = model.start("drive")
    prediction.feed(frame)
    assert "2 (5 %) outside the training range: Current 1, Temp 2" in prediction.figures.describe()


def test_without_a_voltage_there_are_estimates_and_no_errors(checkpoint, frame):
    found = vestim_pl.load(checkpoint).predict(frame.drop(columns="Voltage"))
    assert found["estimated_v"].notna().all()
    assert "error_mv" not in found


def test_other_names_and_units_are_given_by_quantity(checkpoint, frame):
    expected = vestim_pl.load(checkpoint).predict(frame)
    other = frame.rename(columns={"Current": "I", "Voltage": "U"}).assign(I=frame["Current"] * 1000)
    model = vestim_pl.load(checkpoint, columns={"current": "I", "voltage": "U"}, units={"current": "mA"})
    np.testing.assert_allclose(model.predict(other)["error_mv"], expected["error_mv"], atol=1e-2)


def test_doubtful_values_are_refused_or_warned_of(checkpoint, frame, caplog):
    kelvin = frame.assign(Temp=frame["Temp"] + 273.15)
    with pytest.raises(DataError, match=r"temperature.*units=\{'temperature': 'K'\}"):
        vestim_pl.load(checkpoint).predict(kelvin)
    vestim_pl.load(checkpoint, checks="warn").predict(kelvin)
    assert [record.levelname for record in caplog.records if "data.units.temperature=K" in record.getMessage()] == [
        "WARNING"
    ]


def test_a_gap_in_time_starts_from_the_zero_state(checkpoint, frame):
    frame.loc[20:, "Time"] += 1000
    found = vestim_pl.load(checkpoint).predict(frame)
    again = vestim_pl.load(checkpoint).predict(frame[20:])
    np.testing.assert_allclose(found["estimated_v"][20:], again["estimated_v"], atol=2e-6)
    assert found["lower_v"].isna().tolist() == ([True] * 5 + [False] * 15) * 2


def test_rows_left_out_by_the_preparation_are_empty(checkpoint, frame):
    twice = pd.concat([frame[:10], frame[9:]], ignore_index=True)  # the time of row 9 twice: the later row counts
    found = vestim_pl.load(checkpoint).predict(twice)
    assert np.flatnonzero(found["estimated_v"].isna()).tolist() == [9]
    np.testing.assert_allclose(
        found["estimated_v"].dropna(), vestim_pl.load(checkpoint).predict(frame)["estimated_v"], atol=2e-6
    )


def test_resampling_gives_the_rows_of_the_preparation(checkpoint, frame):
    fast = frame.loc[frame.index.repeat(4)].assign(Time=np.arange(160) / 4).reset_index(drop=True)
    with pytest.raises(DataError, match=r"0\.25 s apart.* resample=1;"):
        vestim_pl.load(checkpoint).predict(fast)
    found = vestim_pl.load(checkpoint, resample=1.0).predict(fast)
    assert len(found) == 40
    assert {"time", "current", "estimated_v", "error_mv"} <= set(found)


@pytest.mark.parametrize("border", [1, 7, 19, 20, 21, 39])
@pytest.mark.parametrize("case", ["plain", "gap", "twin"])
def test_pieces_give_what_the_whole_table_gives(checkpoint, frame, border, case):
    frame.loc[20:, "Time"] += {"plain": 0, "gap": 1000, "twin": -1}[case]
    model = vestim_pl.load(checkpoint, checks="off")
    whole, pieces = model.start("whole").feed(frame), model.start("pieces")
    first = pieces.feed(frame[:border].reset_index(drop=True))
    second = pieces.feed(frame[border - 1 :].reset_index(drop=True), carried=True)
    joined = pd.concat([first, second], ignore_index=True)
    if (case, border) != ("twin", 20):  # there the twins are in different pieces, and both are taken
        np.testing.assert_array_equal(joined["lower_v"].isna(), whole["lower_v"].isna())
        np.testing.assert_allclose(joined["estimated_v"], whole["estimated_v"], atol=2e-6)


def test_sample_by_sample_equals_the_table(checkpoint, frame):
    model = vestim_pl.load(checkpoint)
    stream = model.stream()
    volts = [
        stream.step(current=row.Current, temperature=row.Temp, soc=row.SOC) for row in frame.itertuples(index=False)
    ]
    np.testing.assert_allclose(volts, model.predict(frame)["estimated_v"], atol=2e-6)


def test_an_old_checkpoint_predicts_as_a_stream_and_marks_nothing(estimator, frame, tmp_path):
    settings = {name: value for name, value in estimator.hparams.items() if name not in ("data", "preparation")}
    torch.save({"state_dict": estimator.state_dict(), "hyper_parameters": settings}, tmp_path / "old.ckpt")
    model = vestim_pl.load(tmp_path / "old.ckpt")
    assert list(model.predict(frame).columns[-2:]) == ["estimated_v", "error_mv"]
    with pytest.raises(ConfigurationError, match="evaluation=streams"):
        vestim_pl.load(tmp_path / "old.ckpt", evaluation="windows")


@pytest.mark.parametrize(
    ("change", "error"),
    [
        (lambda frame: frame.drop(columns="Temp"), "Temp"),
        (lambda frame: frame.assign(Temp="warm"), "is not a number but 'warm'"),
        (lambda frame: frame.assign(Current=np.where(frame.index == 7, np.nan, frame["Current"])), "row 7"),
        (lambda frame: frame.assign(estimated_v=3.7), "has a column 'estimated_v' already"),
        (lambda frame: frame[:0], "has no rows"),
        (lambda frame: pd.concat([frame, frame[["Temp"]]], axis=1), "several columns are named 'Temp'"),
        (lambda frame: frame.to_dict(), "is a dict, not a pandas DataFrame"),
    ],
)
def test_a_table_that_cannot_be_used_is_one_line(checkpoint, frame, change, error):
    with pytest.raises(DataError, match=error) as caught:
        vestim_pl.load(checkpoint).predict(change(frame))
    assert "\n" not in str(caught.value)
    assert "data." not in str(caught.value), "overrides of the command line do not work in Python"


def test_a_suggestion_works_when_it_is_pasted_into_load(checkpoint, frame):
    with pytest.raises(DataError, match=r"set units=") as caught:
        vestim_pl.load(checkpoint).predict(frame.assign(SOC=100 * frame["SOC"]))
    suggested = re.search(r"units=(\{.*?\})", str(caught.value))[1]
    model = vestim_pl.load(checkpoint, units=ast.literal_eval(suggested))
    model.predict(frame.assign(SOC=100 * frame["SOC"]))


def test_an_empty_voltage_column_is_as_none(checkpoint, frame):
    result = vestim_pl.load(checkpoint).predict(frame.assign(Voltage=np.nan))
    assert "error_mv" not in result
    assert result["estimated_v"].notna().all()


def test_a_notebook_shows_what_the_model_is(checkpoint):
    assert repr(vestim_pl.load(checkpoint)).startswith("VoltageModel(LSTM of SOC, Current, Temp; streams; ")


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"evaluation": "stream"}, "evaluation: 'stream' is unknown"),
        ({"colums": {}}, "did you mean columns"),
        ({"columns": {"curent": "I"}}, "did you mean current"),
        ({"device": "cuda:99"}, "^device: cuda:99 cannot be used .* use device=cpu"),
        ({"device": "gpu"}, "^device: gpu cannot be used .* use device=cpu"),
    ],
)
def test_a_misspelt_option_is_one_line(checkpoint, options, error):
    with pytest.raises(ConfigurationError, match=error):
        vestim_pl.load(checkpoint, **options)


class Harmful:
    """Would run code when unpickled."""

    def __reduce__(self):
        return (pytest.fail, ("code of the file ran",))


@pytest.mark.parametrize(
    "tampered",
    [
        {"data": [1]},
        {"data": {"ranges": {"SOC": ["x", 1]}}},
        {"data": {"evaluation": {"mode": 3}}},
        {"preparation": {"columns": 5}},
        {"preparation": {"derived": {"Slow": "__import__('os')"}}},
        {"preparation": {"resample": -1}},
        {"preparation": {"interval": -1.0}},
        {"preparation": {"interval": "soon"}},
    ],
)
def test_a_tampered_description_is_one_line(estimator, tmp_path, tampered):
    settings = dict(estimator.hparams) | tampered
    torch.save({"state_dict": estimator.state_dict(), "hyper_parameters": settings}, tmp_path / "x.ckpt")
    with pytest.raises(ConfigurationError, match=r"^checkpoint: .*x\.ckpt .*; give") as caught:
        vestim_pl.load(tmp_path / "x.ckpt")
    assert "\n" not in str(caught.value)


def test_broken_and_harmful_files_are_one_line_and_never_run(checkpoint, tmp_path):
    whole = checkpoint.read_bytes()
    (tmp_path / "cut.ckpt").write_bytes(whole[: len(whole) // 2])
    torch.save({"state_dict": Harmful()}, tmp_path / "harmful.ckpt")
    for name in ("cut.ckpt", "harmful.ckpt", "absent.ckpt"):
        with pytest.raises(ConfigurationError, match=rf"^checkpoint: .*{name}") as caught:
            vestim_pl.load(tmp_path / name)
        assert "\n" not in str(caught.value)


def test_a_model_is_built_from_an_estimator_too(estimator, frame):
    found = VoltageModel(estimator).predict(frame)
    np.testing.assert_allclose(found["estimated_v"], offline(estimator, frame), atol=2e-6)


def test_importing_the_package_imports_no_torch():
    code = "import sys, vestim_pl; assert 'torch' not in sys.modules and 'pandas' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
    with pytest.raises(AttributeError, match="no attribute 'lod'"):
        vestim_pl.lod  # noqa: B018
