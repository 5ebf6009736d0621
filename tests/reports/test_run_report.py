"""The report as a person or a program reads it: figures, reasons, escapes, nothing from outside."""

import base64
import hashlib
import json
import math
import re
import sys
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from vestim_pl.reports.run_report import main, write_report

VOID = {"meta", "link", "img", "br", "hr"}


class Page(HTMLParser):
    """Tables, headline figures, addresses and visible text of a page; refuses tags that do not close."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.source = path.read_text(encoding="utf-8")
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.rows: list[list[tuple[str, float | None]]] = []
        self.headline: dict[str, float] = {}
        self.words: list[str] = []
        self.scripts: list[tuple[str | None, str]] = []
        self._term = ""
        self.feed(self.source)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self.tags.append((tag, given))
        if tag not in VOID:
            self.open.append(tag)
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th") and self.rows:
            self.rows[-1].append(("", None))
        if tag == "dt":
            self._term = ""
        if tag == "data":
            value = float(given["value"] or "")
            if self.open[-2] in ("td", "span"):
                self.rows[-1][-1] = ("", value)
            elif "dd" in self.open:
                self.headline[self._term.strip()] = value

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] in ("style", "script"):
            self.scripts.append((self.tags[-1][1].get("id"), data))
            return
        self.words.append(data)
        if "dt" in self.open:
            self._term += data
        if self.open and {"td", "th"} & set(self.open):
            shown, value = self.rows[-1][-1]
            self.rows[-1][-1] = (shown + data, value)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())

    def row(self, name: str) -> list[tuple[str, float | None]]:
        (found,) = [row for row in self.rows if row[0][0] == name]
        return found

    @property
    def plots(self) -> list[str]:
        """Names of the figures that have a place on the page and a content."""
        names = [given["data-plot"] or "" for _, given in self.tags if "data-plot" in given]
        assert set(names) == set(self.content("plots"))
        return names

    def content(self, name: str) -> Any:
        """What a script of JSON holds."""
        (found,) = ["".join(text for each, text in self.scripts if each == name)]
        return json.loads(found)

    @property
    def choices(self) -> list[str]:
        """Recordings that can be chosen."""
        return re.findall(r"<option>(.*?)</option>", self.source)


def report(run_dir: Path) -> Page:
    path = write_report(run_dir)
    assert path == run_dir / "report.html"
    return Page(path)


def test_figures_are_those_of_the_files(run_dir: Path) -> None:
    page = report(run_dir)
    errors = pd.read_csv(run_dir / "test_errors.csv").set_index("recording")
    for name, row in errors.iterrows():
        cells = page.row(str(name))[1:5]
        assert [value for _, value in cells] == list(row[["steps", "rmse_mv", "mae_mv", "max_error_mv"]])
        assert [shown for shown, _ in cells][1:] == [
            f"{row.rmse_mv:,.2f}", f"{row.mae_mv:,.2f}", f"{row.max_error_mv:,.1f}"
        ]  # fmt: skip
    overall = errors.loc["overall"]
    metrics = pd.read_csv(run_dir / "metrics.csv")
    best = metrics.loc[metrics["val/rmse_mv"].idxmin()]
    assert page.headline == {
        "Test RMSE": overall.rmse_mv,
        "Test MAE": overall.mae_mv,
        "Test max": overall.max_error_mv,
        "Best validation RMSE": best["val/rmse_mv"],
    }
    assert f"epoch {int(best['epoch'])} " in page.text
    assert "7 min 42 s" in page.text


def test_errors_of_a_temperature_are_those_of_all_its_steps(run_dir: Path) -> None:
    page = report(run_dir)
    steps = pd.read_parquet(run_dir / "test_steps.parquet")
    cold = steps[steps["recording"].str.endswith("_n10degC")]
    error = 1000.0 * (cold["estimated"].to_numpy(np.float64) - cold["measured"].to_numpy(np.float64))
    values = [value for _, value in page.row("-10 °C")[1:]]
    assert values[:2] == [3, len(error)]
    expected = [math.sqrt((error**2).mean()), np.abs(error).mean(), np.abs(error).max()]
    np.testing.assert_allclose(np.array(values[2:], dtype=float), expected, rtol=1e-9)
    assert [shown for shown, _ in page.row("RMSE [mV]")][1:] == ["-10 °C", "0 °C", "10 °C", "25 °C", "40 °C"]


def test_mean_error_and_place_of_the_largest_one(run_dir: Path) -> None:
    page = report(run_dir)
    steps = pd.read_parquet(run_dir / "test_steps.parquet")
    one = steps[steps["recording"] == "urban_25degC"]
    error = 1000.0 * (one["estimated"].to_numpy(np.float64) - one["measured"].to_numpy(np.float64))
    mean, second = (value for _, value in page.row("urban_25degC")[5:7])
    assert mean == pytest.approx(error.mean())
    assert second == one["time"].iloc[int(np.abs(error).argmax())]


def test_every_recording_can_be_chosen_worst_first(run_dir: Path) -> None:
    errors = pd.read_csv(run_dir / "test_errors.csv").iloc[:-1].sort_values("rmse_mv", ascending=False)
    page = report(run_dir)
    assert page.choices == [f"{row.recording}, RMSE {row.rmse_mv:,.2f} mV" for row in errors.itertuples()]
    assert [each["name"] for each in page.content("recordings")["recordings"]] == list(errors["recording"])
    links = [given["data-recording"] for _, given in page.tags if "data-recording" in given]
    assert links == list(errors["recording"])


def test_plots_are_those_that_the_columns_of_the_steps_allow(run_dir: Path) -> None:
    assert set(report(run_dir).plots) == {"learning_curves", "histogram", "correlation"}
    steps = pd.read_parquet(run_dir / "test_steps.parquet")
    wave = np.sin(np.arange(len(steps)) / 50)
    steps.assign(soc=0.5 + 0.4 * wave, current=-3 + wave, temperature=20 + 15 * wave, outside=wave > 0.9).to_parquet(
        run_dir / "test_steps.parquet"
    )
    page = report(run_dir)
    assert set(page.plots) - {"learning_curves", "histogram", "correlation"} == {
        "by_soc", "by_current", "by_temperature", "by_outside", "by_c_rate"
    }  # fmt: skip
    warm = steps[(20 + 15 * wave >= 30) & (20 + 15 * wave < 40)]
    error = 1000.0 * (warm["estimated"].to_numpy(np.float64) - warm["measured"].to_numpy(np.float64))
    assert page.row("30 to 40 °C")[2][1] == pytest.approx(math.sqrt((error**2).mean()))


def test_several_checkpoints_are_side_by_side_with_mean_and_deviation(run_dir: Path) -> None:
    steps, errors = pd.read_parquet(run_dir / "test_steps.parquet"), pd.read_csv(run_dir / "test_errors.csv")
    worse = errors.assign(**{name: 2 * errors[name] for name in ("rmse_mv", "mae_mv", "max_error_mv")})
    two = {"=seed 0": errors, "<b>seed 1": worse}
    pd.concat([table.assign(checkpoint=name) for name, table in two.items()]).to_csv(
        run_dir / "test_errors.csv", index=False
    )
    half = dict(zip(two, (1.0, 0.0), strict=True))  # V: one interval holds everything, one nothing
    volts = steps["measured"]
    widths = {n: steps.assign(lower_v=volts - 2 + half[n], upper_v=volts - 1 + 2 * half[n]) for n in two}
    pd.concat([part.assign(checkpoint=name) for name, part in widths.items()]).to_parquet(
        run_dir / "test_steps.parquet"
    )
    page, overall = report(run_dir), errors.set_index("recording").loc["overall"]
    for name, table in two.items():
        row = next(row for row in page.rows if row[0][0] == name)
        assert row[1][1] == table["rmse_mv"].iloc[-1]
    assert page.row("mean")[1][1] == pytest.approx(1.5 * overall["rmse_mv"])
    assert page.row("standard deviation")[1][1] == pytest.approx(overall["rmse_mv"] / math.sqrt(2))
    assert page.headline["Test RMSE"] == pytest.approx(1.5 * overall["rmse_mv"])
    one = errors.set_index("recording").loc["urban_25degC", "rmse_mv"]
    assert [value for _, value in page.row("urban_25degC")[1:]] == pytest.approx(
        [one, 2 * one, 1.5 * one, one / math.sqrt(2)]
    )
    assert re.search(r"The interval of =seed 0 holds\s*100\.0\s*%\s*of the measured", page.text)
    assert re.search(r"The interval of <b>seed 1 holds\s*0\.0\s*%\s*of the measured", page.text)
    held = page.content("recordings")
    assert held["checkpoints"] == ["=seed 0", "&lt;b&gt;seed 1"], "plotly would read the markup"
    assert {"error.0", "error.1"} <= {column["name"] for column in held["recordings"][0]["columns"]}


def test_needs_nothing_from_outside_and_is_small(run_dir: Path) -> None:
    page = report(run_dir)
    for tag, given in page.tags:
        assert tag not in ("iframe", "object", "embed")
        assert tag != "script" or "src" not in given
        for name in ("src", "href", "srcset", "data", "action"):
            assert given.get(name) is None or str(given[name]).startswith(("data:", "#"))
    assert "url(" not in "".join(text for name, text in page.scripts if name != "plotly")
    assert len(page.source) < 2_000_000


def test_its_policy_allows_only_its_own_scripts(run_dir: Path) -> None:
    page = report(run_dir)
    (policy,) = [given["content"] or "" for tag, given in page.tags if tag == "meta" and "http-equiv" in given]
    assert policy.startswith("default-src 'none'; script-src 'sha256-")
    own = page.source.rpartition("<script>")[2].partition("</script>")[0]
    digest = base64.b64encode(hashlib.sha256(own.encode()).digest()).decode()
    assert f"'sha256-{digest}'" in policy
    assert "unsafe-eval" not in policy
    assert policy.count("unsafe-inline") == 1, "for styles"


def test_the_same_folder_gives_the_same_bytes_and_needs_no_matplotlib(
    run_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)  # importing it would raise
    first = write_report(run_dir).read_bytes()
    assert write_report(run_dir).read_bytes() == first
    assert sorted(path.name for path in run_dir.iterdir() if path.name.startswith("report")) == ["report.html"]


def test_a_malicious_name_is_text(run_dir: Path) -> None:
    evil = "<script>alert('x')</script>\"$HOME$ & ${x}_n10degC"
    steps = pd.read_parquet(run_dir / "test_steps.parquet")
    errors = pd.read_csv(run_dir / "test_errors.csv")
    errors.loc[errors["rmse_mv"].iloc[:-1].idxmax(), "recording"] = evil
    steps.loc[steps["recording"] == "aggressive_n10degC", "recording"] = evil
    assert evil in set(errors["recording"])
    steps.to_parquet(run_dir / "test_steps.parquet")
    errors.to_csv(run_dir / "test_errors.csv", index=False)
    event = {"kind": "<i>", "reason": f"skip {evil}", "epoch": 0, "step": "<u>", "values": {"recordings": [evil]}}
    (run_dir / "events.jsonl").write_text(json.dumps(event) + "\n")
    (run_dir / ".hydra" / "overrides.yaml").write_text("- data.root=<b>mine</b>\n")
    (run_dir / "provenance.json").write_text(json.dumps({"command": ["<img src=x onerror=y>"]}))
    (run_dir / "train.log").write_text("</pre><script>log</script>\n")
    metrics = pd.read_csv(run_dir / "metrics.csv").assign(**{"<em>": "nan"})
    metrics.to_csv(run_dir / "metrics.csv", index=False)
    page = report(run_dir)
    assert {tag for tag, _ in page.tags}.isdisjoint({"i", "u", "b", "em", "img"})
    assert [given.get("id") for tag, given in page.tags if tag == "script"] == ["plots", "recordings", "plotly", None]
    assert page.content("recordings")["recordings"][0]["name"] == evil
    assert page.row(evil)[2][1] == errors.set_index("recording").loc[evil, "rmse_mv"]
    for said in (f"skip {evil}", "data.root=<b>mine</b>", "<img src=x onerror=y>", "<script>log</script>", "<em>"):
        assert said in page.text


@pytest.mark.parametrize(
    ("name", "said"),
    [
        (".hydra/config.yaml", ".hydra/config.yaml: the configuration is missing"),
        (".hydra/overrides.yaml", ".hydra/overrides.yaml: the list of overrides is missing"),
        ("metrics.csv", "metrics.csv: no learning curves"),
        ("events.jsonl", "events.jsonl: the events are unknown"),
        ("test_errors.csv", "test_errors.csv: missing; its figures are computed from test_steps.parquet"),
        ("test_steps.parquet", "test_steps.parquet: no plots of measured and estimated voltage"),
        ("provenance.json", "provenance.json: versions and machine are unknown"),
        ("train.log", None),
    ],
)
def test_says_what_is_missing_and_shows_the_rest(run_dir: Path, name: str, said: str | None) -> None:
    overall = pd.read_csv(run_dir / "test_errors.csv").iloc[-1]
    (run_dir / name).unlink()
    page = report(run_dir)
    assert ("Missing or unreadable" in page.text) == (said is not None)
    assert said is None or said in page.text
    assert page.headline["Test RMSE"] == pytest.approx(overall.rmse_mv)
    assert ("Best validation RMSE" in page.headline) == (name != "metrics.csv")


@pytest.mark.parametrize(
    "content",
    [
        {
            ".hydra/config.yaml": b"a: [1\n",
            ".hydra/overrides.yaml": b"{\xff",
            "metrics.csv": b"",
            "events.jsonl": b'{"kind": "skip", "reason": "x", "step": 3}\n{"kind": "sk',
            "test_errors.csv": b"",
            "test_steps.parquet": b"PAR1",
            "provenance.json": b"{",
            "train.log": b"\xff\xfe\n",
        },
        {
            ".hydra/config.yaml": b"- 1\n",
            ".hydra/overrides.yaml": b"a: 1\n",
            "metrics.csv": b"epoch,step\n",
            "events.jsonl": b'[1]\n3\n{}\n{"kind": 7}\n\n',
            "test_errors.csv": b"recording,steps\na,1\n",
            "provenance.json": b"[]",
        },
        {"metrics.csv": b"epoch,step,val/rmse_mv\n0,199,17.5\n1,39"},
        {"metrics.csv": b"step,val/rmse_mv\n199,17.5\n", "events.jsonl": b'{"kind": "skip", "epoch": 4}\n'},
        {"metrics.csv": b"epoch,step,val/rmse_mv,grad_norm/pre_clip,lr-Adam\n0,9,nan,0.0,0\n0,19,inf,nan,0\n"},
    ],
    ids=["cut", "wrong", "half a line", "no epoch", "nothing positive"],
)
@pytest.mark.filterwarnings("error")
def test_a_file_cut_short_does_not_stop_the_report(run_dir: Path, content: dict[str, bytes]) -> None:
    for name, written in content.items():
        (run_dir / name).write_bytes(written)
    report(run_dir)


def test_an_empty_folder_gets_a_report_and_no_folder_an_error(tmp_path: Path) -> None:
    page = report(tmp_path)
    assert "no end recorded" in page.text
    assert page.headline == {}
    with pytest.raises(NotADirectoryError, match="give the folder of a run"):
        write_report(tmp_path / "nowhere")


def test_nan_in_metrics_and_in_test_errors_is_shown(run_dir: Path) -> None:
    text = (run_dir / "metrics.csv").read_text().splitlines()
    heads = text[0].split(",")
    place = heads.index("val/rmse_mv")
    rows = [line.split(",") for line in text[1:]]
    changed = [row for row in rows if row[place]][-3:]
    for row in changed:
        row[place] = "nan"
    (run_dir / "metrics.csv").write_text("\n".join([text[0], *(",".join(row) for row in rows)]) + "\n")
    errors = pd.read_csv(run_dir / "test_errors.csv").astype({"rmse_mv": float})
    errors.loc[errors["recording"].isin(["urban_0degC", "overall"]), "rmse_mv"] = math.nan
    errors.to_csv(run_dir / "test_errors.csv", index=False, na_rep="nan")
    page = report(run_dir)
    assert "val/rmse_mv: NaN , 3 of 24 values, first at step 4399" in page.text
    assert math.isnan(page.headline["Test RMSE"])
    assert page.row("urban_0degC")[2][0] == "NaN"
    assert page.choices[0] == "urban_0degC, RMSE NaN mV"
    assert page.row("0 °C")[3][0] == "NaN"


def test_a_diverged_run_names_the_reason(run_dir: Path) -> None:
    for name in ("test_errors.csv", "test_steps.parquet"):
        (run_dir / name).unlink()
    reason = "Epoch 23, Batch 199: model parameters became NaN/Inf after optimizer step; try optimizer.lr=1e-05"
    event = {"kind": "non_finite", "reason": reason, "epoch": 23, "step": 4800, "batch": 199, "values": {}}
    with (run_dir / "events.jsonl").open("a") as file:
        file.write(json.dumps(event) + "\n")
    page = report(run_dir)
    assert f"diverged {reason}" in page.text
    assert ("p", {"class": "status bad"}) in page.tags


def test_command_writes_the_report_of_a_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["run_report", str(tmp_path)])
    main()
    assert capsys.readouterr().out.strip() == str(tmp_path / "report.html")
    monkeypatch.setattr(sys, "argv", ["run_report", str(tmp_path / "nowhere")])
    with pytest.raises(SystemExit) as stopped:
        main()
    assert stopped.value.code == 2
    assert "is not a folder" in capsys.readouterr().err
