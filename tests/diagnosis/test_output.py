import io

from rich.console import Console

from vestim_pl.diagnosis.finding import Finding, Severity
from vestim_pl.diagnosis.output import print_findings
from vestim_pl.settings.override import Override

FINDINGS = [
    Finding("capacity", Severity.WARNING, "1.5 a step " + 40 * "and more ", (Override("network.hidden_sizes", [30]),)),
    Finding("data [V]", Severity.OK, "all vary"),
]


def printed(terminal: bool) -> str:
    file = io.StringIO()
    console = Console(file=file, force_terminal=terminal, width=100, color_system=None, legacy_windows=False)
    print_findings(FINDINGS, "Run [bold]a", console)
    return file.getvalue()


def test_a_log_has_one_plain_line_a_finding():
    lines = printed(terminal=False).splitlines()
    assert lines[0] == "Run [bold]a"
    assert lines[1].startswith("warning  capacity: 1.5 a step and more")
    assert lines[1].endswith("-> 'network.hidden_sizes=[30]'")
    assert lines[2:] == ["ok       data [V]: all vary", "0 errors, 1 warning, 0 notes, 1 ok"]


def test_a_terminal_has_a_table_with_brackets_whole():
    text = printed(terminal=True)
    assert "[30]" in text
    assert "data [V]" in text
    assert "Run [bold]a" in text
    assert "severity" in text


def test_an_override_is_a_line_of_its_own_however_narrow_the_terminal():
    probe = Override("callbacks.gradient_flow", {"_target_": "vestim_pl.callbacks.GradientFlowProbe"}, added=True)
    overrides = (probe, Override("sampling.lookback", 40), Override("optimizer.lr", 1))
    file = io.StringIO()
    console = Console(file=file, force_terminal=True, width=80, color_system=None, legacy_windows=False)
    print_findings([Finding("capacity", Severity.WARNING, "1.5 a step", overrides), FINDINGS[1]], "Run", console)
    lines = file.getvalue().splitlines()
    added = "'+callbacks.gradient_flow={_target_:vestim_pl.callbacks.GradientFlowProbe}'"
    assert lines[lines.index("to fix capacity:") + 1] == f"{added} sampling.lookback=40 optimizer.lr=1"
    assert "to fix data [V]:" not in lines
