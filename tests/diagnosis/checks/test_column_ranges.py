import torch

from vestim_pl.data import RecordingTable
from vestim_pl.diagnosis.checks.column_ranges import check_column_ranges


def table(*temperatures: float, voltage: float = 3.7) -> RecordingTable:
    column = torch.tensor(temperatures)
    return RecordingTable.of(["a"], [column[:, None]], [torch.full_like(column, voltage)])


def test_rows_outside_are_counted_by_column():
    finding = check_column_ranges(table(0.0, 40.0), table(-20.0, 0.0, 40.0, 41.0), ["Temp"], "Voltage")
    assert finding.severity == "warning"
    assert "50 % of the test rows lie outside the training range in Temp (test -20 to 41, training 0 to 40)" in (
        finding.evidence
    )


def test_the_voltage_counts_too():
    finding = check_column_ranges(table(0.0, 40.0), table(10.0, voltage=2.5), ["Temp"], "Voltage")
    assert "100 % of the test rows lie outside the training range in Voltage" in finding.evidence


def test_a_few_rows_are_a_note():
    finding = check_column_ranges(table(0.0, 40.0), table(*[20.0] * 199, 41.0), ["Temp"], "Voltage")
    assert finding.severity == "note"
    assert finding.evidence.startswith("0.5 % of")


def test_inside_with_the_borders_is_as_it_should_be():
    assert check_column_ranges(table(0.0, 40.0), table(0.0, 40.0), ["Temp"], "Voltage").severity == "ok"


def test_ranges_that_differ_in_a_late_digit_are_shown_to_differ():
    finding = check_column_ranges(table(2.5, 4.2), table(2.5, 4.20001), ["Temp"], "Voltage")
    assert "(test 2.5 to 4.20001, training 2.5 to 4.2)" in finding.evidence
