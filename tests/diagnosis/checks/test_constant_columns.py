import torch

from vestim_pl.data import RecordingTable
from vestim_pl.diagnosis.checks.constant_columns import check_constant_columns


def table(temperature: list[float], voltage: list[float]) -> RecordingTable:
    inputs = torch.stack([torch.arange(float(len(voltage))), torch.tensor(temperature)], dim=1)
    return RecordingTable.of(["a"], [inputs], [torch.tensor(voltage)])


def test_a_column_that_never_changes_is_named_and_left_out():
    finding = check_constant_columns(table([25.0] * 3, [3.6, 3.7, 3.8]), ["Current", "Temp"], "Voltage")
    assert (finding.severity, finding.override) == ("warning", "'data.features=[Current]'")
    assert "Temp is 25 in all 3 rows" in finding.evidence


def test_columns_that_change_are_as_they_should_be():
    finding = check_constant_columns(table([25.0, 25.0, 25.1], [3.6, 3.7, 3.8]), ["Current", "Temp"], "Voltage")
    assert finding.severity == "ok"


def test_a_constant_voltage_is_an_error():
    finding = check_constant_columns(table([1.0, 2.0, 3.0], [3.7] * 3), ["Current", "Temp"], "Voltage")
    assert finding.severity == "error"
    assert "Voltage is 3.7 V" in finding.evidence
