"""Check whether mixed precision is faster on this machine."""

from vestim_pl.diagnosis.checks.cost import milliseconds
from vestim_pl.diagnosis.finding import Finding, Severity
from vestim_pl.settings.override import Override

__all__ = ["check_mixed_precision"]

CHECK = "mixed precision"
GAINS = 1.1


def check_mixed_precision(precision: str, full_seconds: float | None, mixed_seconds: float | None) -> Finding:
    """Compare a step in full precision with one in mixed precision, both measured on this machine.

    Args:
        precision: ``trainer.precision`` as resolved for this machine.
        full_seconds: Median seconds of forward and backward in 32 bits; None if not measured.
        mixed_seconds: The same under autocast.

    Example::

        >>> finding = check_mixed_precision("bf16-mixed", 0.10, 0.20)
        >>> finding.severity.value, finding.evidence
        ('warning', 'a step takes 200 ms in bf16-mixed and 100 ms in 32 bits: x 0.5 as fast, for 8 bits of mantissa')

    """
    if "mixed" not in precision or full_seconds is None or mixed_seconds is None:
        return Finding(CHECK, Severity.OK, f"trainer.precision is {precision}: not mixed")
    gain = full_seconds / mixed_seconds
    bits = 8 if "bf16" in precision else 11
    evidence = (
        f"a step takes {milliseconds(mixed_seconds)} in {precision} and {milliseconds(full_seconds)} in 32 bits:"
        f" x {gain:.2g} as fast, for {bits} bits of mantissa"
    )
    if gain >= GAINS:
        return Finding(CHECK, Severity.OK, evidence)
    return Finding(CHECK, Severity.WARNING, evidence, (Override("trainer.precision", "32-true"),))
