"""Print findings, as a table in a terminal or as plain lines in a log, and write them to a file."""

import json
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from vestim_pl.diagnosis.finding import Finding, Severity, worst
from vestim_pl.diagnosis.quick_test import QuickTest
from vestim_pl.errors import ConfigurationError, FileError
from vestim_pl.files import whole_file

__all__ = ["print_findings", "print_quick_test", "summary", "write_findings"]

_log = logging.getLogger("vestim_pl")
_STYLES = {Severity.OK: "green", Severity.NOTE: "cyan", Severity.WARNING: "yellow", Severity.ERROR: "bold red"}
_VERDICTS = {
    Severity.OK: ("passed", "green"),
    Severity.NOTE: ("not judged", "cyan"),
    Severity.WARNING: ("failed", "bold red"),
    Severity.ERROR: ("failed", "bold red"),
}


def print_findings(findings: Sequence[Finding], title: str, console: Console | None = None) -> None:
    """Print the findings in order, and the number of each severity.

    In a terminal the overrides follow below the table, each on its own unfolded line, to be copied.

    """
    console = console or Console()
    if console.is_terminal:
        words = {severity: (severity.value, style) for severity, style in _STYLES.items()}
        _print_table(console, title, ("check", "severity", "evidence"), findings, words)
        suggested = [each for each in findings if each.override]
        lines = [line for each in suggested for line in (f"to fix {each.check}:", each.override)]
    else:
        lines = [title, *(f"{each.severity.value:<8} {each.check}: {_with_override(each)}" for each in findings)]
    _print_lines(console, [*lines, summary(findings)])


def print_quick_test(test: QuickTest, title: str, console: Console | None = None) -> None:
    """Print monitors with verdict, figures and suggestion, and the overall verdict in the last line."""
    console = console or Console()
    if console.is_terminal:
        _print_table(console, title, ("monitor", "verdict", "figures"), test.findings, _VERDICTS)
        lines = [f"suggestion for {each.check}: {each.override}" for each in test.findings if each.override]
    else:
        width = max((len(each.check) for each in test.findings), default=0)
        lines = [title]
        lines += [f"{e.check:<{width}}  {_VERDICTS[e.severity][0]:<10}  {_with_override(e)}" for e in test.findings]
    _print_lines(console, [*lines, test.line])


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


def write_findings(findings: Sequence[Finding], title: str, path: Path, **more: str) -> None:
    """Write the findings as JSON.

    Args:
        findings: Results of the checks.
        title: What was diagnosed.
        path: The file; its folder is made.
        more: Further entries.

    Raises:
        ConfigurationError: If there is no such place, with the setting ``json``.
        FileError: If the disk is full, and the like.

    """
    written = {
        "title": title, "severity": worst(findings).value, **more, "findings": [each.as_dict() for each in findings],
    }  # fmt: skip
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with whole_file(path) as partial:
            partial.write_text(json.dumps(written, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    except FileError as error:
        raise FileError(f"json: {error}, or name another file with json=...") from error
    except OSError as error:
        raise ConfigurationError(
            f"json: {path} cannot be written: {error.strerror or error}; name another file with json=..."
        ) from error
    _log.info("written to %s", path)


def _print_table(
    console: Console,
    title: str,
    headings: tuple[str, str, str],
    findings: Sequence[Finding],
    words: Mapping[Severity, tuple[str, str]],
) -> None:
    table = Table(title=escape(title), title_justify="left", show_lines=True)
    for heading in headings:
        table.add_column(heading, no_wrap=heading in ("severity", "monitor", "verdict"), overflow="fold")
    for each in findings:
        word, style = words[each.severity]
        table.add_row(escape(each.check), f"[{style}]{word}[/]", escape(each.evidence))
    console.print(table)


def _print_lines(console: Console, lines: Sequence[str]) -> None:
    for line in lines:
        console.print(line, markup=False, highlight=False, soft_wrap=True)


def _with_override(finding: Finding) -> str:
    return f"{finding.evidence}  -> {finding.override}" if finding.override else finding.evidence
