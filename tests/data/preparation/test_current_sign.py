import numpy as np
import pytest

from vestim_pl.data.preparation.current_sign import with_sign
from vestim_pl.errors import DataError


def test_a_discharge_that_is_positive_is_turned_and_reported(table):
    turned, notes = with_sign(table(current=[1.0, -2.0]), "discharge_positive")
    assert turned["current"].tolist() == [-1.0, 2.0]
    assert "turned" in notes[0].text


def test_a_signed_current_stays_whatever_the_states_say(table):
    signed = table(current=[1.0, -2.0], state=["D", "D"])
    assert with_sign(signed, "auto") == (signed, [])


@pytest.mark.parametrize(
    ("discharge", "charge", "rest"),
    [("D", "C", "R"), ("CC DChg", "CCCV Chg", "Rest"), ("DCH", "CHA", "PAU"), ("Discharge", "Charge", "Stop"),
     ("CC_Discharge", "CC_Charge", "OCV"), ("Entladen", "Laden", "Pause")],
)  # fmt: skip
def test_a_current_without_sign_is_signed_by_the_states_of_a_tester(table, discharge, charge, rest):
    unsigned = table(current=[0.0, 2.0, 1.0], state=[rest, discharge, charge])
    signed, notes = with_sign(unsigned, "auto")
    assert signed["current"].tolist() == [0.0, -2.0, 1.0]
    assert "column of states" in notes[0].text


def test_a_state_that_is_neither_is_refused_where_current_flows(table):
    with pytest.raises(DataError, match=r"a\.txt: .*state 'X' is neither .* set data\.current_sign=discharge_positive"):
        with_sign(table(current=[2.0, 2.0], state=["D", "X"]), "auto", "a.txt")


def test_numbers_as_states_say_nothing(table):
    unsigned = table(current=np.array([2.0, 2.0]), state=np.array([7, 7]))
    assert with_sign(unsigned, "auto") == (unsigned, [])
