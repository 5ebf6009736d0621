"""Checks before a training and after a run: each a pure function that returns a finding."""

from vestim_pl.diagnosis.after_run import diagnose_run, quick_test_run
from vestim_pl.diagnosis.before_training import diagnose_data, diagnose_settings, diagnose_training
from vestim_pl.diagnosis.checks.clipping import ClipSetting
from vestim_pl.diagnosis.checks.cost import Plan
from vestim_pl.diagnosis.finding import Finding, Severity, one_value_each, worst
from vestim_pl.diagnosis.output import print_findings, print_quick_test, write_findings
from vestim_pl.diagnosis.probe import Measurements, measure
from vestim_pl.diagnosis.quick_test import QuickTest, quick_test_title

__all__ = [
    "ClipSetting",
    "Finding",
    "Measurements",
    "Plan",
    "QuickTest",
    "Severity",
    "diagnose_data",
    "diagnose_run",
    "diagnose_settings",
    "diagnose_training",
    "measure",
    "one_value_each",
    "print_findings",
    "print_quick_test",
    "quick_test_run",
    "quick_test_title",
    "worst",
    "write_findings",
]
