"""The diagnose command: findings before training and on a run folder, and an exit status by severity."""

import json
import re
import shlex

import pandas as pd
import pytest
from omegaconf import DictConfig

from tests.composing import compose
from tests.integration.diagnose_command import by_check, command, dead_run
from tests.pairs import some
from vestim_pl.app.configuration import check, choices
from vestim_pl.diagnose import diagnose, exit_status
from vestim_pl.diagnosis import Severity
from vestim_pl.errors import ConfigurationError


def test_findings_come_with_overrides_that_fix_them(compose_diagnose, tmp_path, recordings, capsys):
    settings = ("+preset=guide_baseline", "sampling.lookback=200", "sampling.batch_size=64", "network.hidden_sizes=[4]")
    before = sorted(tmp_path.rglob("*"))
    found = by_check(diagnose(compose_diagnose(*settings)))
    assert found["capacity"].severity == "warning"
    assert found["weight decay"].severity == "warning"
    assert sorted(tmp_path.rglob("*")) == before, "before training nothing is written"
    assert "warning  weight decay" in capsys.readouterr().out
    for finding in found.values():
        if finding.override:
            fixed = compose_diagnose(*settings, *shlex.split(finding.override))
            check(fixed)
    fixed = by_check(diagnose(compose_diagnose(*settings, found["weight decay"].override)))
    assert fixed["weight decay"].severity == "ok"


@pytest.mark.parametrize(
    ("check_name", "cause"),
    [
        ("gradient clipping", "trainer.gradient_clip_val=0.01"),
        pytest.param("gradient clipping", "trainer.gradient_clip_val=null", marks=pytest.mark.slow),
        ("learning rate", "optimizer.lr=10"),
        pytest.param("learning rate", "optimizer.lr=1e-7", marks=pytest.mark.slow),
        ("gradient memory", "sampling.lookback=100"),
        ("capacity", "sampling.lookback=150 network.hidden_sizes=[2]"),
        pytest.param("capacity", "sampling.lookback=150 network.hidden_sizes=[4]", marks=pytest.mark.slow),
        ("weight decay", ""),
        pytest.param("weight decay", "optimizer.name=Rprop ~optimizer.weight_decay", marks=pytest.mark.slow),
        pytest.param("weight decay", "optimizer.name=SGD ~optimizer.weight_decay", marks=pytest.mark.slow),
        ("dropout", "network.dropout=0.3"),
        ("mixed precision", "trainer.precision=bf16-mixed"),
        ("time", "trainer.max_epochs=-1"),
    ],
)
def test_the_override_of_a_finding_fixes_it(compose_diagnose, check_name, cause):
    found = by_check(diagnose(compose_diagnose(*cause.split())))[check_name]
    if check_name == "mixed precision" and found.severity == "ok":
        pytest.skip("this machine gains from mixed precision")
    assert found.severity in ("note", "warning", "error")
    fixed = compose_diagnose(*cause.split(), *shlex.split(found.override))
    check(fixed)
    after = by_check(diagnose(fixed))[check_name]
    assert after.severity.rank < found.severity.rank, f"{found} became {after}"


def test_a_training_of_days_comes_with_a_setting_that_is_accepted(compose_diagnose):
    """test_cost.py shows, without a clock, that the suggested training lasts less than a day."""
    found = by_check(diagnose(compose_diagnose("trainer.max_epochs=20000000")))["time"]
    assert found.severity == "warning"
    fixed = compose_diagnose("trainer.max_epochs=20000000", found.override)
    check(fixed)
    assert 0 < fixed.trainer.max_epochs < 20_000_000


PRESETS = choices("preset")


@pytest.mark.parametrize("preset", some(PRESETS, fast=["safer", "fast"]))
def test_every_override_fits_the_preset_that_it_is_for(recordings, preset):
    """No suggestion may be refused, as sampling=streams is with a preset for windows."""
    small = ["sampling.lanes=4"] if preset in ("accurate", "fast") else ["sampling.batch_size=16"]
    given = ["data=folder", f"data.root={recordings}", f"+preset={preset}", "sampling.lookback=60"]
    small += ["network.members=3"] if preset == "accurate" else []
    given += [*small, "network.hidden_sizes=[3]", "trainer.accelerator=cpu", "trainer.max_epochs=100000000"]

    def composed(*overrides: str) -> DictConfig:
        return compose(*given, *overrides, command="diagnose")

    findings = diagnose(composed())
    assert [each.severity.rank for each in findings] == sorted((each.severity.rank for each in findings), reverse=True)
    overrides = [finding.override for finding in findings if finding.override]
    assert len(overrides) >= 2
    for override in overrides:
        check(composed(*shlex.split(override)))


@pytest.mark.parametrize(
    "overrides",
    [
        ["network=gru"],
        ["network=fnn"],
        ["network=transformer", "network.heads=2"],
        ["optimizer.name=SGD"],
        ["+trainer.gradient_clip_algorithm=value"],
    ],
)
def test_every_kind_of_training_is_diagnosed(compose_diagnose, overrides):
    assert len(diagnose(compose_diagnose(*overrides))) == 14


def test_streams_are_diagnosed(recordings):
    given = ["data=folder", f"data.root={recordings}", "sampling=streams", "sampling.lanes=4"]
    config = compose(*given, "network.hidden_sizes=[6]", "trainer.accelerator=cpu", command="diagnose")
    found = by_check(diagnose(config))
    assert "of 100 steps" in found["gradient memory"].evidence


def test_data_problems_are_found(compose_diagnose, recordings):
    for file in (recordings / "train").glob("*.parquet"):
        frame = pd.read_parquet(file).assign(Temp=25.0)
        frame["Temp"] = frame["Temp"].astype("float32")
        frame.loc[100:, "Time"] += 30
        frame.to_parquet(file, index=False)
    found = by_check(diagnose(compose_diagnose()))
    assert found["constant columns"].override == "'data.features=[SOC,Current]'"
    assert "Temp (test 25" in found["test range"].evidence
    assert "the largest is 31 s" in found["sampling interval"].evidence
    again = by_check(diagnose(compose_diagnose(*shlex.split(found["constant columns"].override))))
    assert again["constant columns"].severity == "ok"


def test_json_is_written_where_asked(compose_diagnose, tmp_path):
    findings = diagnose(compose_diagnose(f"json={tmp_path / 'found' / 'a.json'}"))
    written = json.loads((tmp_path / "found" / "a.json").read_text())
    assert written["findings"] == [finding.as_dict() for finding in findings]


def test_a_setting_out_of_range_is_refused(compose_diagnose):
    with pytest.raises(ConfigurationError, match=r"^fail_on"):
        diagnose(compose_diagnose("fail_on=sometimes"))


def test_a_folder_that_holds_no_run_is_refused_and_left_as_it_is(compose_diagnose, tmp_path):
    (folder := tmp_path / "empty").mkdir()
    with pytest.raises(ConfigurationError, match=f"^run: {re.escape(str(folder))} holds no run"):
        diagnose(compose_diagnose(f"run={folder}"))
    assert not list(folder.iterdir())
    with pytest.raises(ConfigurationError, match=r"^run: nowhere is not a folder"):
        diagnose(compose_diagnose("run=nowhere"))


@pytest.mark.parametrize(
    ("severity", "statuses"), [("ok", (0, 0, 0)), ("note", (0, 0, 0)), ("warning", (2, 0, 0)), ("error", (3, 3, 0))]
)
def test_exit_status(severity, statuses):
    assert tuple(exit_status(Severity(severity), fail_on) for fail_on in ("warning", "error", "never")) == statuses


def test_the_command_reads_a_dead_run_and_exits_with_its_severity(tmp_path):
    run = dead_run(tmp_path)
    done = command(tmp_path, "run=outputs/dead")
    assert done.returncode == 3, done.stderr
    assert "error    divergence: diverged at step 70" in done.stdout
    assert json.loads((run / "diagnosis.json").read_text())["severity"] == "error"
    assert sorted(path.name for path in run.iterdir()) == ["diagnosis.json", "events.jsonl"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["outputs"]


def test_the_command_before_training_leaves_nothing_behind(tmp_path, recordings, small):
    done = command(tmp_path, "data=folder", f"data.root={recordings}", *small, "optimizer.weight_decay=0")
    assert done.returncode == 2, done.stdout + done.stderr
    assert "warning  weight decay: optimizer.weight_decay is 0" in done.stdout
    assert sorted(path.name for path in tmp_path.iterdir()) == ["recordings"]


def test_a_mistake_is_one_line(tmp_path):
    done = command(tmp_path, "optimizer.lrr=1e-3")
    assert done.returncode == 1
    assert done.stderr.strip() == "error: optimizer.lrr: no such key; did you mean optimizer.lr?"
