"""Run the step of a crash bundle again: ``python -m vestim_pl.replay BUNDLE``."""

from vestim_pl.lightning_support import early_signals  # noqa: F401 - before torch, whose import takes seconds

# isort: split
import argparse
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from vestim_pl.app.interruption import ends_in_one_line, now
from vestim_pl.app.machine_faults import close_output, machine_fault
from vestim_pl.callbacks.crash_bundle.locating import describe_finding, describe_history, describe_step
from vestim_pl.callbacks.crash_bundle.reading import read_bundle
from vestim_pl.callbacks.crash_bundle.replaying import Replay, replay_bundle
from vestim_pl.errors import ConfigurationError, VestimError, name_error, printable
from vestim_pl.lightning_support.step_trace import Phase

__all__ = ["main"]

NOT_REPRODUCED = 3


def main(arguments: Sequence[str] | None = None) -> int:
    """Replay a bundle and print the first non-finite value, its place, and the ranges before it.

    Args:
        arguments: Command line without the program; that of the process by default.

    Returns:
        Exit status: 0 if the fault is reproduced, 3 if every number is finite, 1 if the step cannot run.

    """
    options = _parser().parse_args(arguments)
    try:
        if options.frames < 1:
            raise ConfigurationError(f"--frames: {options.frames} is not positive; give 1 or more")
        bundle = read_bundle(Path(options.bundle))
        replay = replay_bundle(bundle, options.trust, options.factory, options.frames)
        if options.json:
            print(
                json.dumps({"replayed": replay.trace.as_dict(), "notes": replay.notes, **bundle["summary"]}, indent=1)
            )
        else:
            _print_story(bundle["summary"], replay)
        close_output()
    except Exception as error:
        if os.environ.get("HYDRA_FULL_ERROR") == "1":
            raise
        print(f"error: {_one_line(error, options.bundle)}", file=sys.stderr)
        return 1
    return 0 if replay.trace.findings else NOT_REPRODUCED


def _one_line(error: Exception, path: str) -> str:
    """Blame the file for any error of unknown origin: its content may make any code raise."""
    if isinstance(error, VestimError):
        text = printable(str(error))
        return text if path in text or text.startswith("--") else f"{path}: {text}"
    if fault := machine_fault(error, Path(path).parent):
        return fault
    found = printable(name_error(error))
    return f"{path}: cannot be replayed ({found}); it is damaged, or another version of vestim_pl wrote it"


def _print_story(summary: dict[str, Any], replay: Replay) -> None:
    print(f"recorded: epoch {summary['epoch']}, batch {summary['batches'][-1]}: {printable(summary['reason'])}")
    print(f"          {printable(summary['finding'])}")
    for place in summary["recordings"]:
        print("          " + printable(", ".join(f"{key} {value}" for key, value in place.items())))
    for note in replay.notes:
        print(f"note:     {note}")
    findings = replay.trace.findings
    if not findings and not summary["findings"]:
        print("replayed: every number of the step is finite in the replay too")
        return
    if not findings:
        print(
            "replayed: not reproduced: with the recorded weights, batch and random state every number of the step is"
            " finite. The recorded fault came from outside the step: a hook, another callback, or the machine."
        )
        return
    text = describe_step(replay.trace)
    print(f"replayed: {'the same' if text == summary['finding'] else text}")
    for phase in Phase:
        if phase in findings and (phase is not Phase.RECURRENT or findings[phase] != findings[Phase.FORWARD]):
            print(f"          {phase.value + ':':<10} {describe_finding(findings[phase])}")
    shown = findings.get(Phase.RECURRENT) or findings.get(Phase.FORWARD, replay.trace.origin)
    if shown is not None:
        print(f"\nranges (smallest .. largest magnitude) up to {shown.frame.phase} {shown.frame.name}:")
        print(describe_history(shown))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m vestim_pl.replay", description=__doc__)
    parser.add_argument("bundle", help="the .pt file of a crash bundle")
    parser.add_argument(
        "--trust",
        action="store_true",
        help="import any class that the bundle names, which runs its code; without this option only classes of"
        " vestim_pl and torch.optim are imported",
    )
    parser.add_argument(
        "--factory", metavar="MODULE:FUNCTION", help="function that returns the LightningModule, if that cannot be"
        " built from its saved hyperparameters; the function is imported and called",
    )  # fmt: skip
    parser.add_argument("--frames", type=int, default=20, help="number of ranges before the fault (default 20)")
    parser.add_argument("--json", action="store_true", help="print everything as JSON")
    return parser


if __name__ == "__main__":
    with ends_in_one_line():
        now("replaying", "nothing was written; run the same command again")
        sys.exit(main())
