import json
import math

import pytest

from vestim_pl.callbacks.gradients.gradient_flow import FlowVerdict, GradientFlow
from vestim_pl.callbacks.gradients.gradient_flow_probe import write_flows
from vestim_pl.reports.gradient_flow_figure import gradient_flow_figure


def flow(layer, norms, memory):
    return GradientFlow(layer, norms, [], memory, 0.5, 0.5, FlowVerdict.VANISHES, False)


def test_each_layer_and_step_of_the_probe_is_a_line(tmp_path):
    write_flows(
        [flow("<first>", [2.0, 0.5, 0.0], 2), flow("b", [1.0, math.nan, 0.1], 0)], tmp_path / "gradient_flow", 7, 0.99
    )
    write_flows([flow("<first>", [1.0, 0.25, 0.125], 3)], tmp_path / "gradient_flow", 200, 0.99)
    lines = gradient_flow_figure(tmp_path)["data"]
    assert [each["name"] for each in lines] == [
        "step 7, &lt;first&gt;: 99 % within 2 steps", "step 7, b", "step 200, &lt;first&gt;: 99 % within 3 steps"
    ]  # fmt: skip
    assert lines[0]["y"] == [2.0, 0.5, None]
    assert lines[1]["y"] == [1.0, None, 0.1]
    assert lines[0]["line"]["color"] == lines[1]["line"]["color"] != lines[2]["line"]["color"]
    assert lines[0]["line"]["dash"] == lines[2]["line"]["dash"] != lines[1]["line"]["dash"]


@pytest.mark.parametrize(
    "content", ["", "[", "{}", "[1]", '[{"layer": "a"}]', '[{"layer": "a", "hidden_norms": [0.0]}]']
)
def test_a_file_without_a_positive_norm_is_no_figure(tmp_path, content):
    (tmp_path / "gradient_flow").mkdir()
    (tmp_path / "gradient_flow" / "step_0000003.json").write_text(content)
    assert gradient_flow_figure(tmp_path) is None


def test_only_the_last_measurements_are_drawn(tmp_path):
    (tmp_path / "gradient_flow").mkdir()
    for step in range(30):
        path = tmp_path / "gradient_flow" / f"step_{step:07d}.json"
        path.write_text(json.dumps([{"layer": "a", "hidden_norms": [1.0, 0.5]}]))
    assert [each["name"] for each in gradient_flow_figure(tmp_path)["data"]][-1] == "step 29, a"
    assert len(gradient_flow_figure(tmp_path)["data"]) == 12
