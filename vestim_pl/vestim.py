"""Convert settings of VEstim: `python -m vestim_pl.vestim convert hyperparams.json`."""

import argparse
import os
import re
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

from vestim_pl.app.vestim import (
    Conversion,
    convert_file,
    lower_bounds,
    preset_yaml,
    reference,
    render_table,
    search_yaml,
)
from vestim_pl.errors import ConfigurationError, FileError, VestimError
from vestim_pl.files import whole_file
from vestim_pl.settings.command_line import command_line

__all__ = ["main", "write_preset"]

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_-]*")


def main(arguments: Sequence[str] | None = None) -> int:
    """Convert a file, or print the table of all keys; returns the exit status."""
    parser = argparse.ArgumentParser("python -m vestim_pl.vestim", description="Convert settings of VEstim.")
    commands = parser.add_subparsers(dest="command", required=True)
    convert = commands.add_parser("convert", help="write a preset in YAML and print the result for every key")
    convert.add_argument("file", type=Path, help="VEstim's hyperparams.json; // comments are allowed")
    convert.add_argument("output", type=Path, nargs="?", help="YAML to write; preset/NAME.yaml by default")
    convert.add_argument("--horizon", type=int, choices=(0, 1), help="1, as in VEstim: the target follows the window")
    convert.add_argument("--force", action="store_true", help="overwrite an existing file")
    commands.add_parser("keys", help="print every key of VEstim and its setting here, in Markdown")
    options = parser.parse_args(arguments)
    if options.command == "keys":
        print(reference())
        return 0
    try:
        conversion = convert_file(options.file, options.horizon)
        output = options.output or Path("preset") / f"{_stem(options.file)}.yaml"
        arguments, written = write_preset(conversion, output, options.force)
    except VestimError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(render_table(conversion))
    print(f"\nwritten: {', '.join(map(str, written))}")
    if conversion.searched:
        print("There is no search command yet. A training needs one value for each; here, the lower bounds.")
    print(f"to train: {command_line('vestim_pl.train', *arguments)}")
    return 0


def write_preset(conversion: Conversion, output: Path, force: bool = False) -> tuple[list[str], list[Path]]:
    """Write a conversion as YAML.

    Args:
        conversion: The conversion.
        output: File to write; Hydra takes the name of its folder as the group.
        force: Whether to overwrite an existing file.

    Returns:
        Arguments of the train command, and the files written: the preset, and a search space if there is one.

    Raises:
        ConfigurationError: If Hydra cannot use the name, or the file exists or cannot be written.

    """
    output = output if output.suffix == ".yaml" else output.with_name(f"{output.name}.yaml")
    folder = output.absolute().parent
    for name in (output.stem, folder.name):
        if not _NAME.fullmatch(name):
            raise ConfigurationError(
                f"{output}: {name!r} cannot name a Hydra configuration (letters, digits, _ and - only); write to"
                f" preset/{_stem(output)}.yaml"
            )
    arguments = _arguments(conversion, output, folder)
    files = {output: preset_yaml(conversion, shlex.join(["python", "-m", "vestim_pl.train", *arguments]))}
    if conversion.searched:
        files[output.with_suffix(".search.yaml")] = search_yaml(conversion)
    if not force and (there := [str(path) for path in files if path.exists()]):
        raise ConfigurationError(f"{there[0]}: already exists; name another file, or add --force to overwrite it")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for path, text in files.items():
            with whole_file(path) as partial:
                partial.write_text(text, encoding="utf-8")
    except FileError:
        raise
    except OSError as error:
        raise ConfigurationError(
            f"{output}: cannot be written: {error.strerror or error}; name another file"
        ) from error
    return arguments, list(files)


def _arguments(conversion: Conversion, output: Path, folder: Path) -> list[str]:
    """Write the arguments of the train command, relative to the current folder."""
    multirun = ["-m"] if conversion.grids else []
    lowest = [override.argument for override in lower_bounds(conversion.searched)]
    return [*multirun, "--config-dir", os.path.relpath(folder.parent), f"+{folder.name}={output.stem}", *lowest]


def _stem(path: Path) -> str:
    return re.sub(r"[^A-Za-z0-9_-]+", "_", path.stem).lstrip("-") or "hyperparams"


if __name__ == "__main__":
    sys.exit(main())
