"""Write recordings once as Parquet that trains without settings: ``python -m vestim_pl.prepare IN OUT``."""

from vestim_pl.lightning_support import early_signals  # noqa: F401 - before torch, whose import takes seconds

# isort: split
import argparse
import sys
from collections.abc import Sequence

from vestim_pl.app.files_command import run_files_command

__all__ = ["main", "prepare"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit status: 0 if every recording was written, else 1."""
    parser = argparse.ArgumentParser(prog="python -m vestim_pl.prepare", description=__doc__)
    parser.add_argument("input", help="folder of recordings, or one recording")
    parser.add_argument("output", help="folder for the Parquet files, with the same subfolders")
    parser.add_argument("--replace", action="store_true", help="write into a folder that has files already")
    return run_files_command("vestim_pl.prepare:prepare", parser, arguments)


def prepare(options: argparse.Namespace) -> int:
    """Prepare all recordings of a folder, one in memory at a time; a bad one is one line and does not stop the others.

    Args:
        options: ``input``, ``output``, ``replace`` and ``overrides`` of the command line.

    Returns:
        0 if every recording was written, else 1.

    Raises:
        ConfigurationError: If the output would overwrite the input or other files.
        DataError: If there are no recordings.
        FileError: If a file cannot be written.

    """
    from pathlib import Path

    from vestim_pl.app.file_progress import file_progress
    from vestim_pl.app.given_data import GivenData
    from vestim_pl.app.interruption import now
    from vestim_pl.inspection.prepared_files import refuse_overlap
    from vestim_pl.inspection.prepared_folder import prepare_folder

    source, target = Path(options.input), Path(options.output)
    refuse_overlap(source, target, options.replace)
    now("preparing", f"what is in {target} is whole; the same command with --replace starts again")
    given = GivenData(source, options.overrides)
    with file_progress() as advance:
        folder = prepare_folder(source, target, given.settings(()), advance)
    folder.print()
    return 1 if folder.failed else 0


if __name__ == "__main__":  # before torch is imported, so that a mistake on the command line is reported at once
    sys.exit(main())
