from types import SimpleNamespace

import pytest

from vestim_pl.errors import ConfigurationError
from vestim_pl.settings.checks import check_choice, check_integers


@pytest.mark.parametrize("value", [True, 2.0, "2", None])
def test_what_is_no_integer_is_refused_by_name(value):
    with pytest.raises(ConfigurationError, match=r"sampling\.lookback: .* is not an integer"):
        check_integers(SimpleNamespace(lookback=value), "sampling", lookback=1)


def test_the_minimum_itself_is_allowed():
    check_integers(SimpleNamespace(lookback=1, stride=0), "sampling", lookback=1, stride=0)
    with pytest.raises(ConfigurationError, match=r"sampling\.stride: -1 is too small; choose an integer of at least 0"):
        check_integers(SimpleNamespace(lookback=1, stride=-1), "sampling", lookback=1, stride=0)


def test_an_unknown_choice_names_the_nearest():
    check_choice("data.storage", "memory", ["memory"])
    with pytest.raises(ConfigurationError, match=r"data\.storage: 'mappd' is unknown; .* \(nearest: 'mapped'\)"):
        check_choice("data.storage", "mappd", ["memory", "mapped"])
    with pytest.raises(ConfigurationError, match=r"'xyz' is unknown; choose 'a', 'b' or 'c'$"):
        check_choice("setting", "xyz", ["a", "b", "c"])
