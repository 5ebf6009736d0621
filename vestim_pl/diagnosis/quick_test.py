"""The verdict of the guide's Quick Test on a run."""

from collections.abc import Sequence
from dataclasses import dataclass

from vestim_pl.diagnosis.finding import Finding, Severity
from vestim_pl.reports.run_duration import run_duration
from vestim_pl.reports.run_folder import RunFolder

__all__ = ["QuickTest", "quick_test_title"]


@dataclass(frozen=True)
class QuickTest:
    """Verdict on the findings of a run's monitors.

    A monitor passes with ``ok`` and fails with a warning or an error. A note means that it was not judged: the test
    neither fails nor passes.

    Attributes:
        findings: From `quick_test_run`.

    Example::

        >>> test = QuickTest([Finding("loss", Severity.OK, ""), Finding("epoch time", Severity.WARNING, "")])
        >>> test.line, test.severity.value
        ('Quick Test: failed: epoch time', 'warning')
        >>> test = QuickTest([Finding("loss", Severity.NOTE, "")])
        >>> test.line, test.severity.value
        ('Quick Test: not judged: loss', 'warning')

    """

    findings: Sequence[Finding]

    @property
    def line(self) -> str:
        """The verdict in one line."""
        failed = [each.check for each in self.findings if each.severity in (Severity.WARNING, Severity.ERROR)]
        unjudged = [each.check for each in self.findings if each.severity is Severity.NOTE]
        if failed:
            rest = f" (not judged: {', '.join(unjudged)})" if unjudged else ""
            return f"Quick Test: failed: {', '.join(failed)}{rest}"
        return f"Quick Test: not judged: {', '.join(unjudged)}" if unjudged else "Quick Test: passed"

    @property
    def severity(self) -> Severity:
        """The highest severity; a warning if a monitor was not judged."""
        ranks = [Severity.WARNING if each.severity is Severity.NOTE else each.severity for each in self.findings]
        return max(ranks, key=lambda severity: severity.rank, default=Severity.WARNING)


def quick_test_title(run: RunFolder) -> str:
    """Describe the run: folder, epochs, duration, and the share of the data that an epoch uses."""
    made = run.epochs
    wanted, stride = run.setting("trainer.max_epochs"), run.setting("sampling.stride", 1)
    epochs = f"{made} of {wanted} epochs" if isinstance(wanted, int) and wanted > 0 else f"{made} epochs"
    took = run_duration(run)
    parts = [epochs + (f" in {took[1]}" if took and made else "")]
    if isinstance(stride, int) and stride > 1:
        parts.append(f"one window in {stride} (sampling.stride={stride})")
    return f"Quick Test of {run.path}: {', '.join(parts)}"
