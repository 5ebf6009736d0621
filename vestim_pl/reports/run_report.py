"""The report of a run: one HTML file that needs nothing else, written from the files of the run folder.

``python -m vestim_pl.reports.run_report RUN_DIR`` writes it anew for an existing folder.
"""

import argparse
from importlib.resources import files
from pathlib import Path
from string import Template

from vestim_pl.errors import FileError
from vestim_pl.files import whole_file
from vestim_pl.reports import error_sections, run_sections
from vestim_pl.reports.event_story import event_story
from vestim_pl.reports.markup import Html, joined, text
from vestim_pl.reports.run_folder import RunFolder
from vestim_pl.reports.run_status import run_status

__all__ = ["main", "render", "write_report"]

REPORT = "report.html"


def write_report(run_dir: Path) -> Path:
    """Write ``report.html`` into a run folder.

    It reads files only: the configuration, metrics, events, test errors, tested steps, provenance and log that the
    run has left. A run that died, was interrupted or not tested gets its report too; what is not there is named in it.
    The same folder gives the same bytes.

    Args:
        run_dir: The folder of the run.

    Returns:
        The file written. A report that was there stays whole until the new one is complete.

    Raises:
        NotADirectoryError: If there is no such folder.
        FileError: If the file cannot be written.

    """
    page = render(RunFolder.read(run_dir))
    path = run_dir / REPORT
    with whole_file(path) as partial:
        partial.write_text(page, encoding="utf-8")
    return path


def render(run: RunFolder) -> str:
    """The page as text.

    Example::

        >>> page = render(RunFolder(Path("outputs/2026-01-02/03-04-05")))
        >>> "no end recorded" in page
        True

    """
    status = run_status(run)
    body = joined(
        [
            run_sections.status_line(status),
            run_sections.headline(run),
            run_sections.curves(run),
            event_story(run.events),
            error_sections.tables(run),
            error_sections.recordings(run),
            error_sections.voltages(run),
            run_sections.configuration(run),
            run_sections.provenance(run),
        ]
    )
    folder = files("vestim_pl.reports")
    return Template(folder.joinpath("report.html").read_text(encoding="utf-8")).substitute(
        style=folder.joinpath("report.css").read_text(encoding="utf-8"),
        title=text(_title(run)),
        subtitle=Html(f"{'training run' if run.setting('optimizer') else 'run'} <time>{text(_started(run))}</time>"),
        body=body,
    )


def _started(run: RunFolder) -> str:
    return str(run.provenance.get("started", "")).replace("T", " ").replace("+00:00", " UTC")


def _title(run: RunFolder) -> str:
    """The preset where one was taken, and the last parts of the folder's name: date and time."""
    preset = next((item.split("=", 1)[1] for item in run.overrides if item.lstrip("+").startswith("preset=")), "")
    place = "/".join(run.path.absolute().parts[-2:])
    return f"{preset} · {place}" if preset else place


def main() -> None:
    """Write the report of the folder on the command line and print its path."""
    parser = argparse.ArgumentParser(description="Write report.html of a run folder.")
    parser.add_argument("run_dir", type=Path, help="folder of a run, such as outputs/<date>/<time>")
    arguments = parser.parse_args()
    try:
        print(write_report(arguments.run_dir))
    except (FileError, NotADirectoryError) as error:
        parser.error(str(error))


if __name__ == "__main__":
    main()
