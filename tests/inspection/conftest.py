"""Recordings of a made-up cell in the forms of several testers, and the settings of a command line."""

from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from tests.data.preparation.conftest import cell
from vestim_pl.app.given_data import GivenData
from vestim_pl.inspection.inspected_folder import InspectedFolder, inspect_folder


def digatron(frame: pd.DataFrame, path: Path) -> None:
    """Write a preamble, a row of units, clock times and a counter of Ah, as LG HG2 was published."""
    lines = ["Serial,drive", "Cell,A", "", "Step,Status,Prog Time,Voltage,Current,Temperature,Capacity,"]
    lines.append(",,,[V],[A],[C],[Ah],")
    for row in frame.itertuples():
        seconds = row.Time
        clock = f"{int(seconds // 3600):02d}:{int(seconds // 60 % 60):02d}:{seconds % 60:06.3f}"
        charge = 3.0 * (row.SOC - frame["SOC"].iloc[0])
        lines.append(f"1,DCH,{clock},{row.Voltage:.5f},{row.Current:.4f},{row.Temp:.2f},{charge:.6f},")
    path.write_text("\n".join(lines) + "\n")


@pytest.fixture
def drive() -> Callable[..., pd.DataFrame]:
    return cell


@pytest.fixture
def inspected() -> Callable[..., InspectedFolder]:
    """Inspects a folder or a file with overrides, as the command does."""

    def inspect(root: Path, *overrides: str, traces: bool = False) -> InspectedFolder:
        given = GivenData(root, overrides)
        return inspect_folder(root, given.rules, given.settings, traces=traces)

    return inspect
