import pytest

from vestim_pl.callbacks.crash_bundle.locating import describe_finding, describe_history, describe_step
from vestim_pl.functional.tensor_range import TensorRange
from vestim_pl.lightning_support.step_trace import Finding, Frame, Phase, StepTrace


def finding(phase, name="net", tensor="", time=None, history=()):
    return Finding(Frame(phase, name, tensor, time, TensorRange(0.5, 2.0, 1, (3, 17), "nan")), list(history))


def described(findings, not_located=""):
    trace = StepTrace()
    trace.findings = findings
    return describe_step(trace, not_located)


@pytest.mark.parametrize(
    ("found", "text"),
    [
        (finding(Phase.PARAMETER, "head.weight"), "parameter head.weight is already nan at [3, 17] before the step"),
        (finding(Phase.PARAMETER, "w", "optimizer's exp_avg"), "optimizer's exp_avg of w is already nan at [3, 17]"),
        (finding(Phase.BATCH, "inputs"), "field inputs of the batch holds nan at [3, 17]"),
        (finding(Phase.FORWARD, "lstm", "cell", 7), "module lstm, time step 7: cell is nan at [3, 17]"),
        (finding(Phase.LOSS, "of batch 4"), "the loss of batch 4 is nan"),
        (
            finding(Phase.BACKWARD, "lstm", "gradient of hidden", 7),
            "module lstm, time step 7: gradient of hidden is nan",
        ),
        (finding(Phase.GRADIENT, "w"), "the gradient of parameter w is nan at [3, 17]"),
        (finding(Phase.UPDATE, "w"), "parameter w is nan at [3, 17] after the update"),
    ],
)
def test_every_phase_has_its_clause(found, text):
    assert describe_finding(found).startswith(text)


def test_bad_batch_is_followed_into_the_network():
    findings = {Phase.FORWARD: finding(Phase.FORWARD, "lstm", "input", 7), Phase.BATCH: finding(Phase.BATCH, "inputs")}
    text = described(findings)
    assert text.startswith("field inputs of the batch holds nan")
    assert text.endswith("; first effect: module lstm, time step 7: input is nan at [3, 17]")


def test_bad_target_first_affects_the_loss():
    findings = {Phase.BATCH: finding(Phase.BATCH, "target"), Phase.LOSS: finding(Phase.LOSS, "of batch 0")}
    assert described(findings).endswith("; first effect: the loss of batch 0 is nan at [3, 17]")


def test_cause_within_the_step_says_that_everything_before_is_finite():
    assert described({Phase.LOSS: finding(Phase.LOSS, "of batch 0")}).endswith("everything before it is finite")


def test_time_step_is_named_although_another_module_is_affected_first():
    findings = {
        Phase.BATCH: finding(Phase.BATCH, "inputs"),
        Phase.FORWARD: finding(Phase.FORWARD, "net", "input"),
        Phase.RECURRENT: finding(Phase.FORWARD, "net.lstm", "input", 7),
    }
    text = "first recurrent layer affected: module net.lstm, time step 7: input is nan at [3, 17]"
    assert described(findings).endswith(text)
    del findings[Phase.BATCH]
    assert "everything before it is finite; first recurrent layer affected: module net.lstm" in described(findings)
    findings[Phase.FORWARD] = findings[Phase.RECURRENT]
    assert "recurrent" not in described(findings)


def test_nothing_found():
    assert described({}) == "no tensor of the step holds a NaN or an infinity"


def test_history_ends_with_the_finding():
    before = Frame(Phase.FORWARD, "lstm", "hidden", 6, TensorRange(0.25, 0.75))
    lines = describe_history(finding(Phase.FORWARD, "lstm", "cell", 7, [before])).splitlines()
    assert lines[0] == "  forward lstm, time step 6, hidden: 0.25 .. 0.75"
    assert lines[1].endswith("0.5 .. 2, 1 non-finite, first nan at [3, 17]   <-- first")


def test_step_that_could_not_run_again_is_not_called_finite():
    why = "TypeError: cannot pickle a lock"
    loss = {Phase.LOSS: finding(Phase.LOSS, "of batch 4")}
    assert described(loss, why) == f"the loss of batch 4 is nan at [3, 17]; not located within the step: {why}"
    loss[Phase.BATCH] = finding(Phase.BATCH, "inputs")
    assert "effect" not in described(loss, why)
    assert described({}, why) == f"not located: {why}"


@pytest.mark.parametrize("kind", ["buffer", "carried state"])
def test_buffers_and_carried_state_are_named(kind):
    assert (
        describe_finding(finding(Phase.PARAMETER, "h", kind)) == f"{kind} h is already nan at [3, 17] before the step"
    )


def test_finite_gradients_whose_norm_is_not():
    huge = Finding(Frame(Phase.GRADIENT, "head.weight", "", None, TensorRange(0.0, 2e25)), [])
    assert described({Phase.GRADIENT: huge}).startswith(
        "parameter head.weight has the largest gradient, 2e+25; every gradient is finite, but their norm overflows"
    )
