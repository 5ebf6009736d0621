"""Tables of the data card, computed from the files."""

from __future__ import annotations

import re
from pathlib import Path

import pandas as pd

from demo_data.plan import Split

__all__ = ["measure", "refresh", "tables"]

_BLOCK = re.compile(r"(<!-- tables: begin -->\n).*?(<!-- tables: end -->)", re.DOTALL)


def measure(root: Path) -> pd.DataFrame:
    """Return one row a recording: where it belongs, how long it is, and the range of every column."""
    rows = []
    for path in sorted(root.glob("*/*.parquet")):
        data = pd.read_parquet(path)
        trip, ambient = path.stem.split("_")
        rows.append(
            {
                "split": path.parent.name,
                "trip": trip,
                "character": trip.rstrip("0123456789"),
                "ambient": int(ambient.removesuffix("degC").replace("n", "-")),
                "hours": len(data) / 3600.0,
                "kilobytes": path.stat().st_size / 1e3,
                "soc_start": data["SOC"].iloc[0],
                "soc_end": data["SOC"].iloc[-1],
                **{f"{name}_min".lower(): data[name].min() for name in ("Current", "Voltage", "Temp")},
                **{f"{name}_max".lower(): data[name].max() for name in ("Current", "Voltage", "Temp")},
            }
        )
    return pd.DataFrame(rows)


def _span(low: float, high: float, digits: int) -> str:
    """Write a range, with a true minus sign left to the reader's font."""
    return f"{low:.{digits}f} to {high:.{digits}f}"


def _split_rows(facts: pd.DataFrame) -> list[str]:
    """Return the table of splits."""
    lines = [
        "| split | trips | recordings | hours | current [A] | voltage [V] | temperature [degC] | SOC |",
        "|---|---|---|---|---|---|---|---|",
    ]
    groups = [(split.value, facts[facts["split"] == split.value]) for split in Split] + [("all", facts)]
    for name, group in groups:
        spans = [
            _span(group[f"{column}_min"].min(), group[f"{column}_max"].max(), digits)
            for column, digits in (("current", 2), ("voltage", 3), ("temp", 1))
        ]
        soc = _span(group["soc_end"].min(), group["soc_start"].max(), 2)
        trips = ", ".join(sorted(group["trip"].unique())) if name != "all" else str(group["trip"].nunique())
        lines.append(f"| {name} | {trips} | {len(group)} | {group['hours'].sum():.1f} | {' | '.join(spans)} | {soc} |")
    return lines


def _recording_rows(facts: pd.DataFrame) -> list[str]:
    """Return the table of recordings."""
    lines = [
        "| split | recording | seconds | SOC | current [A] | voltage [V] | temperature [degC] |",
        "|---|---|---|---|---|---|---|",
    ]
    order = facts["split"].map({split.value: place for place, split in enumerate(Split)})
    for _, row in facts.assign(order=order).sort_values(["order", "trip", "ambient"]).iterrows():
        spans = [
            _span(row[f"{name}_min"], row[f"{name}_max"], digits)
            for name, digits in (("current", 2), ("voltage", 3), ("temp", 1))
        ]
        soc = _span(row["soc_start"], row["soc_end"], 3)
        name = f"{row['trip']} at {row['ambient']} degC"
        lines.append(f"| {row['split']} | {name} | {round(row['hours'] * 3600)} | {soc} | {' | '.join(spans)} |")
    return lines


def tables(root: Path) -> str:
    """Return the tables of the data card as Markdown."""
    facts = measure(root)
    total = f"{len(facts)} recordings, {facts['hours'].sum():.1f} hours, {facts['kilobytes'].sum() / 1e3:.2f} MB."
    return "\n".join([total, "", *_split_rows(facts), "", *_recording_rows(facts)]) + "\n"


def refresh(root: Path) -> None:
    """Update the tables of ``README.md`` in a data folder, if it has one."""
    path = root / "README.md"
    if path.exists():
        text = path.read_text(encoding="utf-8")
        path.write_text(_BLOCK.sub(lambda found: found[1] + tables(root) + found[2], text), encoding="utf-8")
