"""Allowed ranges of shared options."""

import pytest

from vestim_pl.errors import ConfigurationError
from vestim_pl.networks.options import check_dropout, check_hidden_sizes, check_positive


def test_values_in_range_pass():
    assert check_hidden_sizes([3, 1]) == (3, 1)
    assert check_dropout(0) == 0
    assert check_dropout(0.99) == 0.99
    assert check_positive("taps", 1) == 1


@pytest.mark.parametrize(
    ("check", "message"),
    [
        (lambda: check_hidden_sizes([]), r"network\.hidden_sizes: \[\]"),
        (lambda: check_hidden_sizes((4, -1)), r"network\.hidden_sizes: \[4, -1\]"),
        (lambda: check_dropout(1), r"network\.dropout: 1 "),
        (lambda: check_dropout(float("nan")), r"network\.dropout: nan"),
        (lambda: check_positive("history", 0), r"network\.history: 0"),
    ],
)
def test_values_out_of_range_are_named(check, message):
    with pytest.raises(ConfigurationError, match=message):
        check()
