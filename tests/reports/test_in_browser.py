"""The reports as a person explores them: opened from the disk in Chromium, without a network."""

import json
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from rich.console import Console

from tests.reports.conftest import write_run
from vestim_pl.reports.run_report import write_report
from vestim_pl.reports.sweep_report import write_sweep

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed (pip install playwright)")

PLOT = "document.querySelector('.recordings .plot')"
EVIL = "<img src=x onerror=window.hacked=1>_n10degC"


class Opened:
    """A page in the browser, with everything that it logged and fetched."""

    def __init__(self, context: "playwright.BrowserContext", path: Path) -> None:
        self.page = context.new_page()
        self.said: list[str] = []
        self.fetched: list[str] = []
        self.page.on("console", lambda message: self.said.append(message.text))
        self.page.on("pageerror", lambda error: self.said.append(str(error)))
        self.page.on("request", lambda request: self.fetched.append(request.url))
        self.page.goto(path.as_uri())
        self.page.wait_for_selector("html[data-ready]", state="attached", timeout=60_000)

    def ask(self, script: str) -> object:
        return self.page.evaluate(script)

    def wait(self, script: str) -> None:
        """Wait until a script is true; Playwright's own waiting needs eval, which the policy of the page forbids."""
        for _ in range(400):
            if self.ask(script):
                return
            self.page.wait_for_timeout(50)
        raise TimeoutError(script)

    @property
    def range(self) -> tuple[float, float]:
        """First and last time that is shown, in seconds."""
        low, high = self.ask(f"{PLOT}.layout.xaxis.range")  # type: ignore[misc]
        return 60 * low, 60 * high


@pytest.fixture(scope="module")
def browser() -> Iterator["playwright.Browser"]:
    installed = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    with playwright.sync_playwright() as running:
        try:
            started = running.chromium.launch(executable_path=installed, args=["--no-sandbox"])
        except playwright.Error as error:
            pytest.skip(f"no Chromium (playwright install chromium): {str(error).splitlines()[0]}")
        yield started
        started.close()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with every column: features, an interval, rows outside the training range; one name attacks the page."""
    folder = write_run(tmp_path_factory.mktemp("browser") / "run")
    steps = pd.read_parquet(folder / "test_steps.parquet")
    wave = np.sin(np.arange(len(steps)) / 300)
    steps = steps.assign(soc=0.5 + 0.4 * wave, current=-3 + 2 * wave, temperature=20 + 15 * wave, outside=wave > 0.98)
    steps = steps.assign(lower_v=steps["estimated"] - 0.02, upper_v=steps["estimated"] + 0.02)
    steps.loc[steps["recording"] == "aggressive_n10degC", "recording"] = EVIL
    steps.to_parquet(folder / "test_steps.parquet", index=False)
    (folder / "test_errors.csv").unlink()  # computed from the steps
    write_report(folder)
    return folder


@pytest.fixture(scope="module")
def shown(browser: "playwright.Browser", folder: Path) -> Iterator[Opened]:
    """The report, shared by the tests that leave it as they found it."""
    context = browser.new_context(viewport={"width": 1280, "height": 1000}, offline=True)
    yield Opened(context, folder / "report.html")
    context.close()


@pytest.fixture
def report(shown: Opened) -> Opened:
    shown.page.select_option(".recordings select", index=1)
    shown.wait(f"{PLOT}.layout.uirevision === '{shown.page.evaluate(NAMES)[1]}'")
    shown.page.click("[data-zoom=whole]")
    return shown


@pytest.fixture
def opened(browser: "playwright.Browser") -> Iterator[Callable[..., Opened]]:
    contexts = []

    def open_page(path: Path, **options: object) -> Opened:
        contexts.append(
            browser.new_context(**{"viewport": {"width": 1280, "height": 1000}, "offline": True, **options})
        )
        return Opened(contexts[-1], path)

    yield open_page
    for context in contexts:
        context.close()


NAMES = "content('recordings').recordings.map((each) => each.name)"


def test_every_plot_is_drawn_without_an_error_and_without_a_request(report: Opened, folder: Path) -> None:
    names = report.ask("[...document.querySelectorAll('[data-plot]')].map((each) => each.dataset.plot)")
    assert {"learning_curves", "histogram", "correlation", "by_temperature", "by_soc", "by_current"} <= set(names)
    assert report.ask("[...document.querySelectorAll('.plot')].every((each) => each.querySelector('.main-svg'))")
    lines = "[...document.querySelectorAll('[data-plot=learning_curves] .js-line')]"
    assert report.ask(f"{lines}.filter((each) => each.getAttribute('d')).length") >= 4
    assert report.said == []
    assert report.fetched == [(folder / "report.html").as_uri()]
    assert report.ask("document.querySelector('[data-title*=hart], [data-title*=loud]') === null"), "plotly's upload"


def test_another_recording_changes_the_trace_to_its_measured_voltage(report: Opened, folder: Path) -> None:
    steps = pd.read_parquet(folder / "test_steps.parquet")
    names = report.ask(NAMES)
    report.page.click("[data-move='1']")
    report.wait(f"{PLOT}.layout.uirevision === '{names[2]}'")
    traces = {
        trace["name"]: trace
        for trace in report.ask(f"{PLOT}.data.map(({{name, x, y}}) => ({{name, x: [...x], y: [...y]}}))")
    }
    part = steps[steps["recording"] == names[2]]
    assert traces["measured"]["y"] == pytest.approx(part["measured"].tolist(), abs=1e-4)
    assert traces["estimated"]["y"] == pytest.approx(part["estimated"].tolist(), abs=1e-4)
    assert traces["measured"]["x"] == pytest.approx((part["time"] / 60).tolist(), abs=1e-4)
    error = 1000 * (part["estimated"] - part["measured"])
    assert traces["error"]["y"] == pytest.approx(error.tolist(), abs=0.02)
    assert traces["SOC"]["y"] == pytest.approx((100 * part["soc"]).tolist(), abs=0.02)


def test_a_name_in_the_table_and_the_keyboard_choose_a_recording_too(report: Opened) -> None:
    names = report.ask(NAMES)
    report.page.click(f"a[data-recording='{names[5]}']")
    report.wait(f"{PLOT}.layout.uirevision === '{names[5]}'")
    assert report.page.locator(".recordings select").evaluate("(each) => each.selectedIndex") == 5
    report.page.focus(".recordings select")
    report.page.keyboard.press("ArrowDown")
    report.wait(f"{PLOT}.layout.uirevision === '{names[6]}'")


def test_zoom_by_buttons_by_dragging_and_back(report: Opened, folder: Path) -> None:
    whole = report.range
    worst = report.ask("content('recordings').recordings[1].worst")
    report.page.click("[data-zoom=worst]")
    assert report.range == pytest.approx((worst["start"] - 30, worst["end"] + 30), abs=1.0)
    low, high = report.ask(f"{PLOT}.layout.yaxis2.range")  # type: ignore[misc]
    steps = pd.read_parquet(folder / "test_steps.parquet")
    part = steps[steps["recording"] == report.ask(NAMES)[1]]  # type: ignore[index]
    part = part[(part["time"] >= worst["start"] - 30) & (part["time"] <= worst["end"] + 30)]
    error = 1000 * (part["estimated"] - part["measured"])
    assert low <= error.min() <= error.max() <= high, "the height fits what is shown"
    report.page.click("[data-zoom=out]")
    assert report.range[1] - report.range[0] == pytest.approx(2 * (worst["end"] - worst["start"] + 60), rel=0.05)
    report.page.click("[data-zoom=whole]")
    assert report.range == pytest.approx(whole)

    report.page.locator(".recordings .plot").scroll_into_view_if_needed()
    box = report.page.locator(".recordings .nsewdrag").first.bounding_box()
    assert box is not None
    x, y = box["x"], box["y"] + box["height"] / 2
    report.page.mouse.move(x + 0.25 * box["width"], y)
    report.page.mouse.down()
    report.page.mouse.move(x + 0.5 * box["width"], y, steps=4)
    report.page.mouse.up()
    report.wait(f"{PLOT}.layout.xaxis.range[1] < {whole[1] / 60 * 0.6}")
    width = whole[1] - whole[0]
    assert report.range == pytest.approx((whole[0] + 0.25 * width, whole[0] + 0.5 * width), abs=0.02 * width)
    report.page.mouse.dblclick(x + 0.5 * box["width"], y)
    report.wait(f"{PLOT}.layout.xaxis.range[1] > {whole[1] / 60 * 0.95}")


def test_hover_shows_the_values_of_all_panels(report: Opened) -> None:
    report.page.locator(".recordings .plot").scroll_into_view_if_needed()
    box = report.page.locator(".recordings .nsewdrag").first.bounding_box()
    assert box is not None
    report.page.mouse.move(box["x"] + 200, box["y"] + 20)
    report.page.mouse.move(box["x"] + 210, box["y"] + 20)
    label = report.page.locator(".recordings .hoverlayer .legend")
    label.wait_for(timeout=10_000)
    text = label.text_content() or ""
    for expected in (r"[\d.]+ min", r"measured : \d\.\d{4} V", r"error : .?[\d.]+ mV", r"current : .?[\d.]+ A", "SOC"):
        assert re.search(expected, text), text


def test_worst_minute_training_range_and_interval_are_drawn(report: Opened) -> None:
    shapes = report.ask(f"{PLOT}.layout.shapes.map(({{x0, x1}}) => [60 * x0, 60 * x1])")
    recording = report.ask("content('recordings').recordings[1]")
    assert shapes[-1] == pytest.approx([recording["worst"]["start"], recording["worst"]["end"]], abs=0.1)
    assert recording["outside"]
    assert shapes[:-1] == [pytest.approx(span, abs=1.1) for span in recording["outside"]]
    names = report.ask(f"{PLOT}.data.map((trace) => trace.name)")
    assert {"interval", "outside the training range", "worst minute"} <= set(names)
    note = report.page.locator(".recordings output").text_content() or ""
    assert re.fullmatch(r"Worst minute from \d+ s: RMSE [\d.]+ mV; rows outside the training range: [\d,]+", note)


def test_the_name_of_a_recording_runs_no_script(report: Opened) -> None:
    names = report.ask(NAMES)
    report.page.select_option(".recordings select", index=names.index(EVIL))
    report.wait(f"{PLOT}.layout.uirevision.startsWith('<img')")
    assert report.ask("document.querySelectorAll('img').length") == 0
    assert report.ask("window.hacked") is None
    injected = (
        "const s = document.createElement('script'); s.textContent = 'window.hacked = 2'; document.head.append(s)"
    )
    report.ask(injected)
    assert report.ask("window.hacked") is None, "the policy of the page allows its own scripts only"
    report.said.clear()


def test_a_table_sorts_by_the_heading_that_is_pressed(report: Opened) -> None:
    table = "document.querySelector('table.sortable')"
    cells = f"[...{table}.tBodies[0].rows].map((row) => Number(row.cells[2].querySelector('data').value))"
    head = report.page.locator("table.sortable").first.locator("thead th").nth(2)
    head.locator("button").click()
    *values, _ = report.ask(cells)
    assert values == sorted(values)
    assert report.ask(f"{table}.tBodies[0].rows[{len(values)}].cells[0].textContent") == "overall", "stays last"
    assert head.get_attribute("aria-sort") == "ascending"
    head.locator("button").press("Enter")
    assert report.ask(cells)[:-1] == sorted(values, reverse=True)


def test_a_dark_page_has_other_colours_and_prints_in_light_ones(folder: Path, opened: Callable[..., Opened]) -> None:
    page = opened(folder / "report.html", color_scheme="dark")
    colours = (
        f"[getComputedStyle(document.body).backgroundColor, {PLOT}._fullData.map((trace) => trace.line?.color).join()]"
    )
    dark = page.ask(colours)
    page.page.emulate_media(color_scheme="light")
    page.wait(f"{colours}[1] !== {json.dumps(dark[1])}")
    light = page.ask(colours)
    assert light[0] == "rgb(255, 255, 255)" != dark[0]
    page.page.emulate_media(color_scheme="dark")
    page.wait(f"{colours}[1] === {json.dumps(dark[1])}")
    page.ask("dispatchEvent(new Event('beforeprint'))")
    assert page.ask(f"{PLOT}._fullLayout.width") < 740, "the width of paper"
    assert page.ask("[...document.querySelectorAll('details.figures')].every((each) => each.open)")
    assert page.ask(colours) == light
    page.ask("dispatchEvent(new Event('afterprint'))")
    page.wait(f"{PLOT}._fullLayout.width > 900")
    assert page.ask(colours) == dark
    assert page.said == []


def test_a_narrow_page_scrolls_down_only(folder: Path, opened: Callable[..., Opened]) -> None:
    page = opened(folder / "report.html", viewport={"width": 360, "height": 700})
    assert page.ask("document.documentElement.scrollWidth") == 360
    assert page.ask(f"{PLOT}.querySelector('.main-svg').getBoundingClientRect().width") <= 360


def test_several_checkpoints_are_drawn_together(folder: Path, tmp_path: Path, opened: Callable[..., Opened]) -> None:
    steps = pd.read_parquet(folder / "test_steps.parquet")
    late = steps.groupby("recording").tail(2000).assign(checkpoint="seed 1", estimated=lambda f: f["measured"] + 0.004)
    pd.concat([steps.assign(checkpoint="<b>seed 0"), late]).to_parquet(tmp_path / "test_steps.parquet", index=False)
    page = opened(write_report(tmp_path))
    traces = page.ask(f"{PLOT}.data.map(({{name, yaxis, y}}) => ({{name, yaxis, y: [...y].slice(-5)}}))")
    found = {trace["name"]: trace["y"] for trace in traces if trace["yaxis"] == "y2"}
    assert found["seed 1"] == pytest.approx([4.0] * 5, abs=0.02)
    assert "&lt;b&gt;seed 0" in found
    legend = page.page.locator(".recordings .infolayer .legend").text_content() or ""
    assert "<b>seed 0" in legend
    assert page.said == []


def test_without_scripts_the_tables_are_there_and_say_what_is_missing(
    folder: Path, browser: "playwright.Browser"
) -> None:
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto((folder / "report.html").as_uri())
    text = page.locator("main").inner_text()
    context.close()
    assert "which this page needs for its plots" in text
    assert "urban_25degC" in text


def test_a_sweep_is_explored_alike(tmp_path: Path, opened: Callable[..., Opened]) -> None:
    for job, (rate, rows) in enumerate(
        [("1e-3", "0,4,50\n1,9,40\n"), ("<b>", "0,4,60\n1,9,nan\n"), ("1e-4", "0,4,9\n1,9,8\n")]
    ):
        (tmp_path / str(job) / ".hydra").mkdir(parents=True)
        (tmp_path / str(job) / ".hydra" / "overrides.yaml").write_text(f"- optimizer.lr={rate}\n")
        (tmp_path / str(job) / "metrics.csv").write_text(f"epoch,step,val/rmse_mv\n{rows}")
    page = opened(write_sweep(tmp_path, Console(record=True)))
    assert page.ask(
        "[...document.querySelectorAll('.plot')].map((each) => each.querySelectorAll('.scatterlayer .trace').length)"
    ) == [2, 3]
    page.page.click("table.sortable thead th:nth-child(4) button")
    page.page.click("table.sortable thead th:nth-child(4) button")
    order = page.ask("[...document.querySelectorAll('table.sortable tbody tr')].map((row) => row.cells[0].textContent)")
    assert order == ["1", "0", "2"]
    assert "<b>" in (page.page.locator(".xaxislayer-above").first.text_content() or "")
    assert page.said == []
    assert len(page.fetched) == 1
