"""Say what recordings are and which command trains on them: ``python -m vestim_pl.inspect_data DIR``."""

from vestim_pl.lightning_support import early_signals  # noqa: F401 - before torch, whose import takes seconds

# isort: split
import argparse
import sys
from collections.abc import Sequence

from vestim_pl.app.files_command import run_files_command

__all__ = ["inspect_data", "main"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit status: 0 with a command that trains, else 1."""
    parser = argparse.ArgumentParser(prog="python -m vestim_pl.inspect_data", description=__doc__)
    parser.add_argument("input", help="folder of recordings, with or without train, val and test, or one recording")
    parser.add_argument("--page", default="inspection.html", help="HTML page with the traces (default inspection.html)")
    parser.add_argument("--no-page", action="store_true", help="write no page")
    return run_files_command("vestim_pl.inspect_data:inspect_data", parser, arguments)


def inspect_data(options: argparse.Namespace) -> int:
    """Inspect the recordings, print what was found, and write the page.

    Args:
        options: ``input``, ``overrides``, ``page`` and ``no_page`` of the command line.

    Returns:
        0 if a command trains on the recordings, else 1.

    Raises:
        DataError: If there are no recordings.
        FileError: If the page cannot be written.

    """
    from pathlib import Path

    from vestim_pl.app.file_progress import file_progress
    from vestim_pl.app.given_data import GivenData
    from vestim_pl.app.interruption import finish_first, now
    from vestim_pl.inspection.inspected_folder import inspect_folder
    from vestim_pl.inspection.output import print_folder, write_folder_page
    from vestim_pl.inspection.training_command import prepare_command, training_command, why_no_training

    now("inspecting the recordings", "nothing was written; the same command starts again")
    root, given = Path(options.input), GivenData(Path(options.input), options.overrides)
    with file_progress() as advance:
        folder = inspect_folder(root, given.rules, given.settings, advance, traces=not options.no_page)
    command, why_not = training_command(root, folder, options.overrides), why_no_training(folder)
    with finish_first("writing what was found"):
        print_folder(folder)
        if not options.no_page:
            prepare = prepare_command(root, folder, options.overrides)
            write_folder_page(folder, command, why_not, prepare, Path(options.page))
            print(f"page with the traces: {options.page}")
        print(f"\ntrain with:\n{command}" if command else f"\nno training: {why_not}")
    return 0 if command else 1


if __name__ == "__main__":  # before torch is imported, so that a mistake on the command line is reported at once
    sys.exit(main())
