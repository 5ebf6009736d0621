"""What a check found: how bad it is, the numbers that say so, and the override that mends it."""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

__all__ = ["Finding", "Severity", "worst"]


class Severity(StrEnum):
    """How much a finding matters, least first.

    Attributes:
        OK: As it should be.
        NOTE: Worth knowing; nothing needs to change.
        WARNING: Costs accuracy, time or stability.
        ERROR: The run fails, or what it gives is of no use.

    """

    OK = "ok"
    NOTE = "note"
    WARNING = "warning"
    ERROR = "error"

    @property
    def rank(self) -> int:
        """0 for ``ok`` to 3 for ``error``."""
        return list(Severity).index(self)


@dataclass(frozen=True)
class Finding:
    """Answer of one check.

    Attributes:
        check: Name of the check, for a person.
        severity: How much it matters.
        evidence: What was measured, with numbers, in a sentence.
        override: What to add to the command line to mend it, quoted as a shell needs it; empty where there is nothing
            to mend, or no override can.

    Example::

        >>> Finding("weight decay", Severity.WARNING, "it is 0", "optimizer.weight_decay=1e-4").as_dict()
        {'check': 'weight decay', 'severity': 'warning', 'evidence': 'it is 0',
         'override': 'optimizer.weight_decay=1e-4'}

    """

    check: str
    severity: Severity
    evidence: str
    override: str = ""

    def as_dict(self) -> dict[str, str]:
        """Plain dictionary, ready for JSON."""
        return {
            "check": self.check,
            "severity": self.severity.value,
            "evidence": self.evidence,
            "override": self.override,
        }


def worst(findings: Iterable[Finding]) -> Severity:
    """The gravest severity, ``ok`` without findings.

    Example::

        >>> worst([Finding("a", Severity.NOTE, ""), Finding("b", Severity.WARNING, ""), Finding("c", Severity.OK, "")])
        <Severity.WARNING: 'warning'>

    """
    return max((finding.severity for finding in findings), key=lambda severity: severity.rank, default=Severity.OK)
