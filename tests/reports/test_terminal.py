"""The table that ends a training."""

import io

import pandas as pd
import pytest
from rich.console import Console

from vestim_pl.reports.terminal import print_checkpoints, print_errors

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


def test_several_checkpoints_end_with_mean_and_standard_deviation():
    errors = pd.concat([ERRORS.assign(checkpoint=f"seed {n}", rmse_mv=rmse) for n, rmse in enumerate((8.0, 9.0, 13.0))])
    screen = io.StringIO()
    print_checkpoints(errors, "streams", Console(file=screen, width=100))
    rows = [[cell.strip() for cell in line.split("│")[1:4]] for line in screen.getvalue().splitlines() if "│" in line]
    assert rows == [
        ["seed 0", "1,200", "8.00"],
        ["seed 1", "1,200", "9.00"],
        ["seed 2", "1,200", "13.00"],
        ["mean", "", "10.00"],
        ["standard deviation", "", "2.65"],
    ]
