"""The table that ends a training."""

import io

import pandas as pd
import pytest
from rich.console import Console

from vestim_pl.reports.terminal import print_errors

ERRORS = pd.DataFrame(
    [
        {"recording": "us06_25degC [bold]", "steps": 1200, "rmse_mv": 9.876, "mae_mv": 5.4, "max_error_mv": 70.25},
        {"recording": "overall", "steps": 1200, "rmse_mv": 9.876, "mae_mv": 5.4, "max_error_mv": 70.25},
    ]
)


@pytest.mark.parametrize(("evaluation", "said"), [("windows", "zero state"), ("streams", "state carried")])
def test_units_figures_names_and_the_kind_of_evaluation_are_shown(evaluation, said):
    screen = io.StringIO()
    print_errors(ERRORS, evaluation, Console(file=screen, width=100))
    text = screen.getvalue()
    assert said in text
    for shown in ("RMSE [mV]", "MAE [mV]", "max [mV]", "us06_25degC [bold]", "1,200", "9.88", "5.40", "70.2"):
        assert shown in text
