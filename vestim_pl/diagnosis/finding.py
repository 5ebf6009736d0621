"""The result of a check: severity, evidence, and the overrides that fix it."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from vestim_pl.settings.override import Override, command_text

__all__ = ["Finding", "Severity", "one_value_each", "worst"]


class Severity(StrEnum):
    """How much a finding matters, least first.

    Attributes:
        OK: As it should be.
        NOTE: Worth knowing; nothing needs to change.
        WARNING: Costs accuracy, time or stability.
        ERROR: The run fails, or its result is useless.

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
    """Result of a check.

    Attributes:
        check: Name of the check.
        severity: How much it matters.
        evidence: What was measured, in a sentence with numbers.
        overrides: Settings that fix it; empty if nothing is wrong or no setting helps.

    Example::

        >>> decay = Override("optimizer.weight_decay", 1e-4)
        >>> Finding("weight decay", Severity.WARNING, "it is 0", (decay,)).as_dict()
        {'check': 'weight decay', 'severity': 'warning', 'evidence': 'it is 0',
         'override': 'optimizer.weight_decay=0.0001'}

    """

    check: str
    severity: Severity
    evidence: str
    overrides: tuple[Override, ...] = ()

    @property
    def override(self) -> str:
        """The overrides as text that can be pasted into a shell."""
        return command_text(self.overrides)

    def as_dict(self) -> dict[str, str]:
        """Plain dictionary, ready for JSON."""
        return {
            "check": self.check,
            "severity": self.severity.value,
            "evidence": self.evidence,
            "override": self.override,
        }


def worst(findings: Iterable[Finding]) -> Severity:
    """Return the highest severity; ``ok`` without findings.

    Example::

        >>> worst([Finding("a", Severity.NOTE, ""), Finding("b", Severity.WARNING, ""), Finding("c", Severity.OK, "")])
        <Severity.WARNING: 'warning'>

    """
    return max((finding.severity for finding in findings), key=lambda severity: severity.rank, default=Severity.OK)


def one_value_each(findings: Sequence[Finding]) -> list[Finding]:
    """Suggest one value for each setting: the most severe finding decides, the others refer to it.

    All overrides can then be pasted together. Of two equally severe findings the first decides.

    Args:
        findings: In any order, which is kept.

    Example::

        >>> low = Finding("slow", Severity.WARNING, "slow", (Override("optimizer.lr", 1e-2), Override("seed", 1)))
        >>> high = Finding("divergence", Severity.ERROR, "diverged", (Override("optimizer.lr", 1e-4),))
        >>> slow, _ = one_value_each([low, high])
        >>> slow.evidence, slow.override
        ('slow; for optimizer.lr see divergence', 'seed=1')

    """
    decided: dict[str, tuple[object, str]] = {}
    for finding in sorted(findings, key=lambda finding: -finding.severity.rank):
        for override in finding.overrides:
            decided.setdefault(override.key, (override.value, finding.check))
    return [_without_contradictions(finding, decided) for finding in findings]


def _without_contradictions(finding: Finding, decided: dict[str, tuple[object, str]]) -> Finding:
    kept = tuple(each for each in finding.overrides if decided[each.key][0] == each.value)
    others = [f"for {each.key} see {decided[each.key][1]}" for each in finding.overrides if each not in kept]
    return replace(finding, evidence="; ".join([finding.evidence, *others]), overrides=kept) if others else finding
