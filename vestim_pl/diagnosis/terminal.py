"""Findings for a person: a table in a terminal, plain lines in a log."""

from collections.abc import Sequence

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from vestim_pl.diagnosis.finding import Finding, Severity

__all__ = ["print_findings", "summary"]

_STYLES = {Severity.OK: "green", Severity.NOTE: "cyan", Severity.WARNING: "yellow", Severity.ERROR: "bold red"}


def print_findings(findings: Sequence[Finding], title: str, console: Console | None = None) -> None:
    """Print the findings in their order, and how many there are of each severity.

    Overrides stand below the table, each on a line of its own that nothing folds, to be copied.

    Args:
        findings: What the checks found.
        title: What was diagnosed.
        console: Where to print; standard output by default.

    """
    console = console or Console()
    if console.is_terminal:
        table = Table(title=escape(title), title_justify="left", show_lines=True)
        for heading in ("check", "severity", "evidence"):
            table.add_column(heading, no_wrap=heading == "severity", overflow="fold")
        for finding in findings:
            severity = f"[{_STYLES[finding.severity]}]{finding.severity.value}[/]"
            table.add_row(escape(finding.check), severity, escape(finding.evidence))
        console.print(table)
        for line in _overrides(findings):
            console.print(line, markup=False, highlight=False, soft_wrap=True)
    else:
        for line in (title, *(_line(finding) for finding in findings)):
            console.print(line, markup=False, highlight=False, soft_wrap=True)
    console.print(summary(findings), markup=False, highlight=False, soft_wrap=True)


def summary(findings: Sequence[Finding]) -> str:
    """Counts by severity, gravest first.

    Example::

        >>> summary([Finding("a", Severity.OK, ""), Finding("b", Severity.WARNING, ""), Finding("c", Severity.OK, "")])
        '0 errors, 1 warning, 0 notes, 2 ok'

    """
    count = {severity: sum(finding.severity is severity for finding in findings) for severity in Severity}
    plural = [
        f"{count[severity]} {severity.value}{'' if count[severity] == 1 else 's'}"
        for severity in (Severity.ERROR, Severity.WARNING, Severity.NOTE)
    ]
    return ", ".join([*plural, f"{count[Severity.OK]} ok"])


def _overrides(findings: Sequence[Finding]) -> list[str]:
    """Each override below the check that it is for.

    Example::

        >>> _overrides([Finding("weight decay", Severity.WARNING, "it is 0", "optimizer.weight_decay=1e-4")])
        ['to mend weight decay:', 'optimizer.weight_decay=1e-4']

    """
    named = [finding for finding in findings if finding.override]
    return [line for finding in named for line in (f"to mend {finding.check}:", finding.override)]


def _line(finding: Finding) -> str:
    mended = f"  -> {finding.override}" if finding.override else ""
    return f"{finding.severity.value:<8} {finding.check}: {finding.evidence}{mended}"
