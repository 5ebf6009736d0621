"""Print findings: a table in a terminal, plain lines in a log."""

from collections.abc import Sequence

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from vestim_pl.diagnosis.finding import Finding, Severity

__all__ = ["print_findings", "summary"]

_STYLES = {Severity.OK: "green", Severity.NOTE: "cyan", Severity.WARNING: "yellow", Severity.ERROR: "bold red"}


def print_findings(findings: Sequence[Finding], title: str, console: Console | None = None) -> None:
    """Print the findings in order, and the number of each severity.

    Overrides follow below the table, each on its own unfolded line, to be copied.

    Args:
        findings: Results of the checks.
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
    """Count by severity, most severe first.

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
    """Lines with the overrides of each check, below its name.

    Example::

        >>> from vestim_pl.settings.override import Override
        >>> decay = Override("optimizer.weight_decay", 1e-4)
        >>> _overrides([Finding("weight decay", Severity.WARNING, "it is 0", (decay,))])
        ['to fix weight decay:', 'optimizer.weight_decay=0.0001']

    """
    named = [finding for finding in findings if finding.override]
    return [line for finding in named for line in (f"to fix {finding.check}:", finding.override)]


def _line(finding: Finding) -> str:
    suggestion = f"  -> {finding.override}" if finding.override else ""
    return f"{finding.severity.value:<8} {finding.check}: {finding.evidence}{suggestion}"
