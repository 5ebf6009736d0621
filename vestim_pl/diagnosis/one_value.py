"""One value for a setting in all findings of a table."""

import re
from collections.abc import Sequence
from dataclasses import replace

from vestim_pl.diagnosis.finding import Finding

__all__ = ["one_value_each"]

_PARTS = re.compile(r"""(?:[^\s'"]|'[^']*'|"[^"]*")+""")  # a space in quotes divides nothing


def one_value_each(findings: Sequence[Finding]) -> list[Finding]:
    """Let the gravest finding that names a setting decide its value; the others point to it.

    Whoever copies every override of a table would else get the last of several values. Of two that are as grave the
    first decides.

    Args:
        findings: In any order, which is kept.

    Example::

        >>> from vestim_pl.diagnosis.finding import Severity
        >>> low = Finding("slow", Severity.WARNING, "slow", "optimizer.lr=1e-2 trainer.max_epochs=50")
        >>> high = Finding("divergence", Severity.ERROR, "diverged", "optimizer.lr=1e-4")
        >>> slow, _ = one_value_each([low, high])
        >>> slow.evidence, slow.override
        ('slow; for optimizer.lr see divergence', 'trainer.max_epochs=50')

    """
    decided: dict[str, tuple[str, str]] = {}
    for finding in sorted(findings, key=lambda finding: -finding.severity.rank):
        for key, part in _settings(finding):
            decided.setdefault(key, (part, finding.check))
    return [_held_to(finding, decided) for finding in findings]


def _settings(finding: Finding) -> list[tuple[str, str]]:
    """Keys and whole overrides of a finding."""
    parts = [found[0] for found in _PARTS.finditer(finding.override)]
    return [(part.lstrip("'\"+~").partition("=")[0], part) for part in parts]


def _held_to(finding: Finding, decided: dict[str, tuple[str, str]]) -> Finding:
    settings = _settings(finding)
    others = [f"for {key} see {decided[key][1]}" for key, part in settings if decided[key][0] != part]
    if not others:
        return finding
    kept = " ".join(part for key, part in settings if decided[key][0] == part)
    return replace(finding, evidence="; ".join([finding.evidence, *others]), override=kept)
