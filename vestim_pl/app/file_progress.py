"""A line in the terminal that says which file is being read."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

__all__ = ["file_progress"]


@contextmanager
def file_progress() -> Iterator[Callable[[str], None]]:
    """Yield a function that shows the name of the next file and counts it; silent where output is no terminal."""
    columns = (
        SpinnerColumn(),
        TextColumn("{task.completed} files"),
        TimeElapsedColumn(),
        TextColumn("{task.description}"),
    )
    with Progress(*columns, transient=True, disable=not sys.stdout.isatty()) as progress:
        task = progress.add_task("", total=None)
        yield lambda label: progress.update(task, description=label, advance=1)
