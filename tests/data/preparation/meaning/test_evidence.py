import numpy as np
import pytest

from vestim_pl.data.preparation.meaning.evidence import Evidence, implied_capacity, sign_evidence
from vestim_pl.data.preparation.table import StandardTable


def of(frame, starts=(0,)):
    names = {"Time": "time", "Current": "current", "Voltage": "voltage", "SOC": "soc"}
    return StandardTable({names[name]: frame[name].to_numpy() for name in names}, starts)


def test_the_voltage_follows_the_current_of_a_cell(drive):
    sign = sign_evidence(of(drive()))
    assert sign.share == 1.0
    assert sign.ohms == pytest.approx(0.03, rel=0.05)
    assert sign_evidence(of(drive().assign(Current=-drive()["Current"]))).share == 0.0


def test_few_steps_say_nothing(drive):
    assert sign_evidence(of(drive(60))) is None
    assert sign_evidence(of(drive().assign(Current=-1.0))) is None


def test_noise_on_a_constant_current_is_no_step(drive):
    random = np.random.default_rng(0)
    noisy = drive().assign(
        Current=-2.0 + 0.003 * random.normal(size=900), Voltage=3.7 + 0.001 * random.normal(size=900)
    )
    assert sign_evidence(of(noisy)) is None


def test_the_step_across_a_cut_is_no_step(drive):
    frame = drive(100)
    assert sign_evidence(of(frame, starts=tuple(range(0, 100, 5)))) is None


def test_the_capacity_shows_in_current_and_soc_in_pieces_too(drive):
    assert implied_capacity(of(drive())) == pytest.approx(3.0, rel=1e-3)
    parts = drive().drop(index=range(300, 600)).reset_index(drop=True)
    assert implied_capacity(of(parts, starts=(0, 300))) == pytest.approx(3.0, rel=1e-3)
    assert implied_capacity(of(drive().assign(Current=-drive()["Current"]))) == pytest.approx(-3.0, rel=1e-3)


def test_soc_that_spans_little_or_is_unrelated_implies_nothing(drive):
    assert implied_capacity(of(drive(20))) is None
    assert implied_capacity(of(drive().assign(SOC=np.random.default_rng(0).random(900)))) is None


def test_irregular_intervals_are_counted(drive):
    frame = drive(100)
    frame["Time"] = np.cumsum(np.where(np.arange(100) % 4, 1.0, 5.0))
    evidence = Evidence.of(of(frame))
    assert evidence.interval == 1.0
    assert evidence.irregular == pytest.approx(0.25, abs=0.02)
    assert evidence.intervals == (1.0, 5.0)
