"""Write a conversion as YAML: a preset to train with, and the space of a search."""

import json
from collections.abc import Iterable, Sequence
from itertools import takewhile
from pathlib import Path
from typing import Any

from vestim_pl.app.vestim.conversion import Conversion
from vestim_pl.app.vestim.draft import Row, Setting, shown
from vestim_pl.app.vestim.values import Choice, Range
from vestim_pl.settings.override import hydra_value

__all__ = ["preset_yaml", "search_yaml"]

_LOGARITHMIC = ("optimizer.lr", "scheduler.factor", "callbacks.plateau.factor", "network.dropout")  # as VEstim draws
_COMMENT_COLUMN = 40


def preset_yaml(conversion: Conversion, command: str) -> str:
    """Write the conversion as a preset: a file for ``conf/preset/`` or your own folder.

    The values of a grid go to Hydra's sweeper, and the file starts a multirun. A setting to be searched has no value,
    so that training asks for one.

    Args:
        conversion: The conversion.
        command: Command line that trains with the file, for the comment at its top.

    """
    lines = ["# @package _global_", f"# From VEstim's {Path(conversion.file).name}, key by key:", f"#   {command}"]
    single = [setting for setting in conversion.settings if not setting.choice.is_grid]
    chosen = [setting for setting in single if setting.chooses]
    lines += [
        "defaults:",
        *(_line(f"  - override /{each.target}: {each.choice.one}", _origin(each, conversion)) for each in chosen),
        "  - _self_",
        "",
    ]
    lines += _nested([setting for setting in single if not setting.chooses], conversion)
    if conversion.grids:
        lines += [
            "hydra:",
            _line("  mode: MULTIRUN", "one run for each combination of these"),
            "  sweeper:",
            "    params:",
        ]
        for setting in conversion.grids:
            values = ",".join(map(hydra_value, setting.choice.values))
            lines.append(_line(f"      {setting.target}: {json.dumps(values)}", _origin(setting, conversion)))
    lines += _left_over([row for row in conversion.rows if not row.target])
    return "\n".join(lines) + "\n"


def search_yaml(conversion: Conversion) -> str:
    """Write the bounds of a search as a table of distributions, one per setting.

    ``layers`` draws the number of layers, and the size of layer i between the i-th bounds.
    """
    lines = [
        f"# What VEstim's {Path(conversion.file).name} searches. There is no search command yet that reads this.",
        "# type: integer, float or layers; both bounds are included; log: on a logarithmic scale, as VEstim draws.",
        "space:",
    ]
    for setting in conversion.searched:
        assert setting.choice.range is not None  # noqa: S101
        space = _distribution(setting, setting.choice.range)
        lines.append(_line(f"  {setting.target}: {_yaml(space)}", _origin(setting, conversion)))
    return "\n".join(lines) + "\n"


def _distribution(setting: Setting, bounds: Range) -> dict[str, Any]:
    if isinstance(bounds.low, tuple):
        fewest, most = len(bounds.low), len(bounds.high)
        low = [*bounds.low, *(bounds.low[-1],) * (most - fewest)]
        return {"type": "layers", "layers": [fewest, most], "low": low, "high": list(bounds.high)}
    if isinstance(bounds.low, int):
        return {"type": "integer", "low": bounds.low, "high": bounds.high}
    log = {"log": True} if setting.target in _LOGARITHMIC and bounds.low > 0 else {}
    return {"type": "float", "low": bounds.low, "high": bounds.high} | log


def _nested(settings: Iterable[Setting], conversion: Conversion) -> list[str]:
    """Write the settings as YAML, grouped by node."""
    lines: list[str] = []
    open_nodes: list[str] = []
    for setting in sorted(settings, key=lambda setting: _order(setting.target)):
        *nodes, name = setting.target.split(".")
        shared = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(open_nodes, nodes, strict=False)))
        lines += [f"{'  ' * depth}{nodes[depth]}:" for depth in range(shared, len(nodes))]
        open_nodes = nodes
        lines.append(_line(f"{'  ' * len(nodes)}{name}: {_scalar(setting.choice)}", _origin(setting, conversion)))
    return lines


def _order(target: str) -> tuple[Any, ...]:
    """Values of a node before the nodes inside it; nodes in the order of their names."""
    *nodes, name = target.split(".")
    return (tuple((1, node) for node in nodes), (0, name))


def _scalar(choice: Choice) -> str:
    return "???" if choice.range else _yaml(choice.one)


def _yaml(value: Any) -> str:
    """Write a value as JSON, which is YAML too; a reference is not resolved."""
    return json.dumps(value, ensure_ascii=False).replace("${", "\\\\${")


def _origin(setting: Setting, conversion: Conversion) -> str:
    if not setting.sources:
        [row] = [row for row in conversion.rows if row.target == setting.target]
        return row.outcome.partition("; ")[2]
    texts = [f"{key}: {shown(conversion.raw[key])}" for key in setting.sources]
    return "; ".join(texts) + (", to be searched" if setting.choice.range else "")


def _left_over(rows: Sequence[Row]) -> list[str]:
    """Write as comments the keys that set nothing by themselves."""
    if not rows:
        return []
    return [
        "",
        "# Keys without a setting of their own:",
        *(f"#   {row.key}: {row.value}  ({row.outcome})" for row in rows),
    ]


def _line(text: str, comment: str) -> str:
    return f"{text:{_COMMENT_COLUMN}} # {comment}" if comment else text
