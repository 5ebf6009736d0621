import pytest

from vestim_pl.callbacks.crash_bundle.messages import first_finding, tell_finding, tell_history, tell_step
from vestim_pl.functional.tensor_range import TensorRange
from vestim_pl.lightning_support.step_trace import Finding, Frame, Phase


def finding(phase, name="net", tensor="", time=None, history=()):
    return Finding(Frame(phase, name, tensor, time, TensorRange(0.5, 2.0, 1, (3, 17), "nan")), list(history))


@pytest.mark.parametrize(
    ("found", "text"),
    [
        (finding(Phase.PARAMETER, "head.weight"), "parameter head.weight is nan at [3, 17] already before the step"),
        (finding(Phase.PARAMETER, "w", "optimizer's exp_avg"), "optimizer's exp_avg of w is nan at [3, 17] already"),
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
def test_every_phase_is_told(found, text):
    assert tell_finding(found).startswith(text)


def test_cause_from_outside_of_the_network_is_followed_into_it():
    findings = {Phase.FORWARD: finding(Phase.FORWARD, "lstm", "input", 7), Phase.BATCH: finding(Phase.BATCH, "inputs")}
    text = tell_step(findings)
    assert text.startswith("field inputs of the batch holds nan")
    assert text.endswith("it strikes first in module lstm, time step 7: input is nan at [3, 17]")
    assert first_finding(findings).frame.phase is Phase.BATCH


def test_target_strikes_in_the_loss():
    findings = {Phase.BATCH: finding(Phase.BATCH, "target"), Phase.LOSS: finding(Phase.LOSS, "of batch 0")}
    assert tell_step(findings).endswith("it strikes first in the loss of batch 0 is nan at [3, 17]")


def test_cause_within_the_step_says_that_all_before_was_finite():
    assert tell_step({Phase.LOSS: finding(Phase.LOSS, "of batch 0")}).endswith("everything before it is finite")


def test_time_step_is_told_where_another_module_comes_first():
    findings = {
        Phase.BATCH: finding(Phase.BATCH, "inputs"),
        Phase.FORWARD: finding(Phase.FORWARD, "net", "input"),
        Phase.RECURRENT: finding(Phase.FORWARD, "net.lstm", "input", 7),
    }
    text = "among the recurrent layers in module net.lstm, time step 7: input is nan at [3, 17]"
    assert tell_step(findings).endswith(text)
    del findings[Phase.BATCH]
    assert "everything before it is finite; among the recurrent layers in module net.lstm" in tell_step(findings)
    findings[Phase.FORWARD] = findings[Phase.RECURRENT]
    assert "among" not in tell_step(findings)


def test_nothing_found():
    assert first_finding({}) is None
    assert "no tensor" in tell_step({})


def test_history_ends_with_the_first():
    before = Frame(Phase.FORWARD, "lstm", "hidden", 6, TensorRange(0.25, 0.75))
    lines = tell_history(finding(Phase.FORWARD, "lstm", "cell", 7, [before])).splitlines()
    assert lines[0] == "  forward lstm, time step 6, hidden: 0.25 .. 0.75"
    assert lines[1].endswith("0.5 .. 2, 1 non-finite, first nan at [3, 17]   <-- first")


def test_what_nobody_looked_into_is_not_called_finite():
    why = "TypeError: cannot pickle a lock"
    loss = {Phase.LOSS: finding(Phase.LOSS, "of batch 4")}
    assert tell_step(loss, why) == f"the loss of batch 4 is nan at [3, 17]; not located within the step: {why}"
    loss[Phase.BATCH] = finding(Phase.BATCH, "inputs")
    assert "strikes" not in tell_step(loss, why)
    assert tell_step({}, why) == f"not located: {why}"


@pytest.mark.parametrize("kind", ["buffer", "carried state"])
def test_what_is_carried_into_the_step_is_told(kind):
    assert tell_finding(finding(Phase.PARAMETER, "h", kind)) == f"{kind} h is nan at [3, 17] already before the step"


def test_finite_gradients_whose_norm_is_not():
    huge = Finding(Frame(Phase.GRADIENT, "head.weight", "", None, TensorRange(0.0, 2e25)), [])
    assert tell_step({Phase.GRADIENT: huge}).startswith(
        "the gradient of parameter head.weight is the largest with 2e+25; each is finite, but the norm of all overflows"
    )
