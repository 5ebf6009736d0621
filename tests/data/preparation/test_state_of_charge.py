import numpy as np
import pytest

from vestim_pl.data.preparation.state_of_charge import SocSource, with_soc
from vestim_pl.errors import ConfigurationError, DataError

HOUR = np.linspace(0.0, 3600.0, 361)


def hour(table, **columns):
    return table(time=HOUR, current=np.full(361, -1.5), **columns)


def test_nothing_is_counted_without_a_capacity_or_beside_a_column(table):
    for same, source in ((hour(table), SocSource()), (hour(table, soc=HOUR), SocSource(capacity_ah=3.0))):
        assert with_soc(same, source) == (same, [])


def test_the_current_is_counted_from_the_initial_state(table):
    counted, notes = with_soc(hour(table), SocSource(capacity_ah=3.0, initial=0.9))
    assert counted["soc"] == pytest.approx(np.linspace(0.9, 0.4, 361))
    assert "from the current with 3 Ah" in notes[0].text


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_a_counter_is_taken_whatever_its_sign_and_start(table, sign):
    ah = sign * (-1.5 * HOUR / 3600 * 1.01) + 7
    counted, notes = with_soc(hour(table, ah=ah), SocSource(capacity_ah=3.0))
    assert counted["soc"][-1] == pytest.approx(1.0 - 1.5 * 1.01 / 3)
    assert "counter" in notes[0].text


def test_a_counter_that_starts_again_at_each_step_is_not_taken(table):
    counted, notes = with_soc(hour(table, ah=np.abs((HOUR % 600) * 1.5 / 3600)), SocSource(capacity_ah=3.0))
    assert counted["soc"][-1] == pytest.approx(0.5)
    assert "does not follow" in notes[0].text


def test_an_unsigned_counter_is_not_taken_in_a_short_recording_either(table):
    short = table(time=np.arange(60.0), current=np.full(60, -1.5), ah=1.5 * np.abs(np.arange(60.0) % 20) / 3600)
    counted, notes = with_soc(short, SocSource(capacity_ah=3.0))
    assert counted["soc"][-1] == pytest.approx(1.0 - 1.5 * 59 / 3600 / 3.0)
    assert "does not follow" in notes[0].text


def test_a_counter_knows_what_flowed_in_a_gap(table):
    time = np.concatenate([HOUR[:100], HOUR[100:] + 3600])
    ah = np.concatenate([-1.5 * HOUR[:100] / 3600, -1.5 * HOUR[100:] / 3600 - 0.6])
    cut = table(starts=(0, 100), time=time, current=np.full(361, -1.5), ah=ah)
    assert with_soc(cut, SocSource(capacity_ah=3.0))[0]["soc"][-1] == pytest.approx(1.0 + ah[-1] / 3)


def test_the_drift_against_a_known_end_is_reported(table):
    _, notes = with_soc(hour(table), SocSource(capacity_ah=3.0, final=0.48), "a.csv")
    assert "a.csv ends +2.0 % off its known end of 0.480" in notes[1].text
    column = 1.0 - 0.52 * HOUR / 3600
    again, notes = with_soc(hour(table, soc=column), SocSource(capacity_ah=3.0, initial="column"), "a.csv")
    assert again["soc"][-1] == pytest.approx(0.5)
    assert "counted anew" in notes[0].text
    assert "+2.0 %" in notes[1].text


def test_the_voltage_at_rest_gives_the_initial_state(table):
    points = [[1.0, 4.2], [0.0, 3.0], [0.5, 3.6]]
    current = np.r_[0.0, np.full(360, -1.5)]
    rested = table(time=HOUR, current=current, voltage=np.full(361, 3.9))
    source = SocSource(capacity_ah=3.0, initial="rest_ocv", ocv=points)
    assert with_soc(rested, source)[0]["soc"][0] == pytest.approx(0.75)
    with pytest.raises(DataError, match=r"a\.csv: the cell is not at rest in its first row \(-1\.5 A\)"):
        with_soc(hour(table, voltage=HOUR), source, "a.csv")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"capacity_ah": 0.0}, r"data\.soc\.capacity_ah: 0\.0 is not positive"),
        ({"initial": 90}, r"data\.soc\.initial: 90 is not between 0 and 1; 0\.9 is 90 %"),
        ({"initial": "full"}, r"'full' is unknown; choose a number"),
        ({"initial": "rest_ocv"}, r"data\.soc\.ocv: .*needs points"),
        ({"initial": "rest_ocv", "ocv": [[0, 4.0], [1, 3.0]]}, r"rise in both"),
        ({"initial": "rest_ocv", "ocv": [[0, 3.0], [1]]}, r"needs points"),
    ],
)
def test_settings_that_cannot_be_are_refused(options, message):
    with pytest.raises(ConfigurationError, match=message):
        SocSource(**options)


def test_counting_from_the_column_needs_one(table):
    with pytest.raises(DataError, match=r"a\.csv: has no column of SOC, which data\.soc\.initial=column needs"):
        with_soc(hour(table), SocSource(capacity_ah=3.0, initial="column"), "a.csv")
