import shlex
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from tests.composing import compose
from vestim_pl.app.configuration import check
from vestim_pl.app.trainer import build_trainer
from vestim_pl.diagnosis.after_run import diagnose_run
from vestim_pl.diagnosis.overrides import missing_recovery, tolerated_rate
from vestim_pl.reports.run_folder import RunFolder

BAD = {"kind": "non_finite", "step": 70, "reason": "model parameters became NaN/Inf"}
OFF = "callbacks.step_guard=null callbacks.finite_parameters=null callbacks.recovery=null"


@pytest.mark.parametrize(
    "choices",
    [
        "",
        OFF,
        "+preset=guide_baseline",
        "+preset=resilient",
        "+preset=fast",
        f"sampling=streams {OFF}",
        f"network=fnn trainer.gradient_clip_val=0.5 {OFF}",
        "+preset=safer callbacks.recovery=null sampling.lookback=40",
        "callbacks=[warmup]",
        "~callbacks.recovery",
        "~callbacks.recovery ~callbacks.early_stopping",
    ],
)
def test_the_suggestion_is_accepted_whatever_callbacks_the_run_had(tmp_path: Path, choices: str) -> None:
    given = ["run_dir=.", "trainer.accelerator=cpu", *choices.split()]
    config = compose(*given)
    run = RunFolder(tmp_path, config=OmegaConf.to_container(config, resolve=False), events=(BAD,))
    found = next(each for each in diagnose_run(run) if each.check == "divergence")
    parts = shlex.split(found.override)
    fixed = compose(*[*given, *parts])
    fixed.run_dir = str(tmp_path)
    check(fixed)
    assert fixed.optimizer.lr == pytest.approx(config.optimizer.lr / 10)
    kinds = [type(callback).__name__ for callback in build_trainer(fixed).callbacks]
    if choices != "~callbacks.recovery":  # it would come after the early stopping, which is refused
        assert {"StepGuard", "FiniteParameterGuard", "DivergenceRecovery"} <= set(kinds)
    if "EarlyStopping" in kinds and "DivergenceRecovery" in kinds:
        assert kinds.index("DivergenceRecovery") < kinds.index("EarlyStopping")
    if all(config.callbacks.get(name) for name in ("step_guard", "finite_parameters", "recovery")):
        assert len(parts) == 1, "only the rate"


def test_streams_are_recovered_by_whole_epochs():
    overrides = missing_recovery({"recovery": None}, streams=True)
    assert str(overrides[-1]) == "+callbacks.recovery.whole_epochs=true"


def rollback(**values: object) -> dict[str, object]:
    return {"kind": "rollback", "values": {"learning_rate_after": 1e-9, **values}}


def test_the_rate_is_a_base_rate_without_the_warmup():
    assert tolerated_rate(10.0, [rollback()], False, {}) == (1.0, 1.0)
    assert tolerated_rate(10.0, [rollback(), rollback()], False, {}) == (0.1, 0.1)
    assert tolerated_rate(10.0, [rollback(), rollback()], True, {}) == (0.1, 0.01), "it diverged at that rate too"
    assert tolerated_rate(10.0, [], False, {}) == (10.0, 1.0), "nothing cut it"


def test_the_cut_of_the_run_counts_and_a_later_rise():
    halves = {"recovery": {"_target_": "vestim_pl.callbacks.DivergenceRecovery", "learning_rate_factor": 0.5}}
    assert tolerated_rate(8.0, [rollback(), rollback()], False, halves) == (2.0, 2.0)
    raised = {"kind": "recovery", "values": {"factor": 0.4}}
    assert tolerated_rate(10.0, [rollback(), raised], False, {}) == (4.0, 4.0)


def test_nothing_is_suggested_for_a_run_without_a_configuration(tmp_path: Path) -> None:
    found = diagnose_run(RunFolder(tmp_path, events=(BAD,)))
    assert [each.override for each in found] == ["", ""]
