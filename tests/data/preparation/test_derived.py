import numpy as np
import pytest

from vestim_pl.data.preparation.derived import check_formulas, with_derived
from vestim_pl.errors import ConfigurationError, DataError


@pytest.mark.parametrize(
    ("formula", "values"),
    [
        ("current * voltage", [4.0, -6.0, 0.0]),
        ("abs(current) / 2 - -1", [1.5, 2.0, 1.0]),
        ("maximum(current, 0) ** 2 + temperature", [26.0, 25.0, 25.0]),
        ("3", [3.0, 3.0, 3.0]),
        ("rolling_mean(current, 2)", [1.0, -0.5, -1.0]),
    ],
)
def test_formulas(table, formula, values):
    rows = table(current=[1.0, -2.0, 0.0], voltage=[4.0, 3.0, 3.5], temperature=np.full(3, 25))
    derived, _ = with_derived(rows, {"New": formula}, 1.0)
    assert derived["New"].tolist() == values


def test_a_low_pass_reaches_63_percent_after_its_time_constant_at_any_interval(table):
    for interval in (0.1, 1.0, 10.0):
        rows = table(current=np.r_[0.0, np.ones(2000)])
        derived, _ = with_derived(rows, {"Slow": "low_pass(current, 100)"}, interval)
        assert derived["Slow"][round(100 / interval)] == pytest.approx(1 - np.exp(-1), abs=1e-9)


def test_each_piece_begins_afresh_and_later_formulas_use_earlier_ones(table):
    rows = table(starts=(0, 2), current=[0.0, 8.0, 1.0, 1.0])
    derived, _ = with_derived(rows, {"A": "low_pass(current, 1)", "B": "2 * A"}, 1.0)
    assert derived["A"][2:].tolist() == [1.0, 1.0]
    assert derived["B"] == pytest.approx(2 * derived["A"])


def test_every_function_of_time_is_causal(table):
    random = np.random.default_rng(0)
    current = random.normal(size=50)
    formulas = {"L": "low_pass(current, 5)", "M": "rolling_mean(current, 5)"}
    whole = with_derived(table(current=current), formulas, 1.0)[0]
    part = with_derived(table(current=current[:20]), formulas, 1.0)[0]
    for name in formulas:
        assert np.array_equal(whole[name][:20], part[name])


@pytest.mark.parametrize(
    "formula",
    [
        "__import__('os').system('true')", "open('x')", "current.__class__", "[current]", "lambda: 1", "current if 1 "
        "else 2",
        "current @ current", "'text'", "True", "low_pass(current)", "low_pass(current, -3)", "low_pass(current, "
        "seconds=3)",
        "low_pass(current, 1e999 - 1e999)", "current +", "", "abs(current, 2)", "x := 3", "(" * 500 + ")" * 500,
    ],
)  # fmt: skip
def test_nothing_but_arithmetic_is_let_through(formula):
    with pytest.raises(ConfigurationError, match=r"^data\.derived\.X: "):
        check_formulas({"X": formula})


def test_a_quantity_is_not_replaced():
    with pytest.raises(ConfigurationError, match=r"data\.derived\.soc: 'soc' is a quantity; choose another name"):
        check_formulas({"soc": "current"})


def test_what_cannot_be_computed_is_refused(table):
    with pytest.raises(DataError, match=r"a\.csv: data\.derived\.X: there is no column 'curent'.*did you mean current"):
        with_derived(table(current=[1.0]), {"X": "curent"}, 1.0, "a.csv")
    with pytest.raises(DataError, match=r"a\.csv: data\.derived\.X: '1 / current' is not finite everywhere"):
        with_derived(table(current=[0.0]), {"X": "1 / current"}, 1.0, "a.csv")
