"""The parts of a run report, from what stands on top to what one looks up."""

import math
from collections.abc import Iterable
from typing import Any

import numpy as np
import pandas as pd

from vestim_pl.reports.learning_curves import draw_learning_curves
from vestim_pl.reports.markup import Html, bullets, definitions, details, figure, joined, number, section, text
from vestim_pl.reports.run_duration import run_duration
from vestim_pl.reports.run_folder import RunFolder
from vestim_pl.reports.run_status import RunState, RunStatus, best_validation
from vestim_pl.reports.run_words import run_in_words

__all__ = ["configuration", "curves", "headline", "provenance", "status_line"]

LOG_LINES = 60
_TONES = {RunState.FINISHED: "good", RunState.EARLY_STOPPED: "good", RunState.DIVERGED: "bad", RunState.FAILED: "bad"}


def status_line(status: RunStatus) -> Html:
    """How the run ended, and why."""
    tone = _TONES.get(status.state, "open")
    return Html(f'<p class="status {tone}"><strong>{text(status.state.value)}</strong> {text(status.reason)}</p>')


def headline(run: RunFolder) -> Html:
    """The figures that one opens the report for."""
    pairs: list[tuple[object, object]] = []
    overall = _overall(run)
    for name, label, digits in (
        ("rmse_mv", "Test RMSE", 2),
        ("mae_mv", "Test MAE", 2),
        ("max_error_mv", "Test max", 1),
    ):
        if overall is not None and name in overall:
            pairs.append((label, number(overall[name], digits, "mV")))
    best = best_validation(run.metrics)
    if best is not None:
        where = f"epoch {best[1]}" if best[1] >= 0 else ("no finite value" if math.isnan(best[0]) else "")
        pairs.append(("Best validation RMSE", joined([number(best[0], 2, "mV"), Html(f"<small>{where}</small>")])))
    duration = run_duration(run)
    if duration is not None:
        pairs.append((duration[0], duration[1]))
    content = definitions(pairs, "headline") if pairs else Html("")
    return joined([content, Html(f"<p>{text(run_in_words(run.setting))}</p>"), _missing(run)])


def curves(run: RunFolder) -> Html:
    """Learning curves."""
    caption = "Errors in mV, learning rate, norm of the gradient and events over the epochs"
    return section("Training", figure(draw_learning_curves(run), caption), _non_finite(run.metrics))


def configuration(run: RunFolder) -> Html:
    """Overrides of the command line, and all settings."""
    listed = Html("".join(f"<li><code>{text(item)}</code></li>" for item in run.overrides))
    overrides = Html(f"<ul>{listed}</ul>") if run.overrides else Html("")
    none = Html("<p>no overrides</p>") if run.config_text and not run.overrides else Html("")
    full = details("All settings", Html(f"<pre>{text(run.config_text)}</pre>")) if run.config_text else Html("")
    return section("Configuration", overrides, none, full)


def provenance(run: RunFolder) -> Html:
    """Versions, machine, command, and the end of the log."""
    pairs = list(_flat(run.provenance))
    end = run.log[-LOG_LINES:]
    log = details(
        f"End of train.log, {len(end)} of {len(run.log)} lines", Html(f"<pre>{text(chr(10).join(end))}</pre>")
    )
    return section("Made with", definitions(pairs, "plain") if pairs else "", log if end else "")


def _overall(run: RunFolder) -> dict[str, float] | None:
    if run.errors is not None:
        rows = run.errors[run.errors["recording"] == "overall"]
        if len(rows):
            return {name: float(rows.iloc[-1][name]) for name in ("rmse_mv", "mae_mv", "max_error_mv")}
    logged = run.metrics[run.metrics["key"].str.startswith("test/")]
    return {str(row.key).removeprefix("test/"): float(row.value) for row in _rows(logged)} if len(logged) else None


def _non_finite(metrics: pd.DataFrame) -> Html:
    """Logged numbers that are NaN or Inf, by key, in words: a picture can only hint at them."""
    bad = metrics[~np.isfinite(metrics["value"])]
    told = []
    for key, rows in bad.groupby("key", sort=False):
        words = " and ".join(number(value) for value in rows["value"].drop_duplicates())
        told.append(
            Html(
                f"{text(key)}: {words}, {len(rows)} of {int((metrics['key'] == key).sum())} values, "
                f"first at step {rows['step'].iloc[0]:.0f}"
            )
        )
    return joined([Html("<p>Not finite in the metrics:</p>"), bullets(told)]) if told else Html("")


def _missing(run: RunFolder) -> Html:
    if not run.missing:
        return Html("")
    return Html(f'<aside class="missing"><p>Missing or unreadable in the run folder:</p>{bullets(run.missing)}</aside>')


def _rows(frame: pd.DataFrame) -> Iterable[Any]:
    """Rows with their columns as attributes."""
    return frame.itertuples()


def _flat(node: Any, prefix: str = "") -> Iterable[tuple[str, object]]:
    for key, value in node.items():
        name = f"{prefix}{key}"
        if isinstance(value, dict):
            yield from _flat(value, f"{name}.")
        elif value is not None:
            yield name, " ".join(map(str, value)) if isinstance(value, list) else value
