"""Rules for the keys that have no setting here."""

from vestim_pl.app.vestim.draft import Draft
from vestim_pl.app.vestim.keys import KEYS

__all__ = ["leave_out"]

_EXPLOIT = ("EXPLOIT_LR", "EXPLOIT_EPOCHS", "EXPLOIT_REPETITIONS", "FINAL_LR")
_FILTER = "INFERENCE_FILTER_TYPE"


def leave_out(draft: Draft) -> None:
    """Record for every key without a setting why it has none."""
    for key in draft.given(*KEYS):
        if not KEYS[key].becomes:
            draft.leave(key, KEYS[key].remark)
    if str(draft.raw.get("EXPLOIT_REPETITIONS")).strip() == "0":
        for key in draft.given(*_EXPLOIT):
            draft.leave(key, "EXPLOIT_REPETITIONS is 0, so VEstim has no exploit phase either")
    if draft.given(_FILTER) and str(draft.raw[_FILTER]).strip().casefold() == "none":
        for key in draft.given(*(key for key in KEYS if key.startswith("INFERENCE_FILTER_"))):
            draft.leave(key, "no filter is asked for")
        draft.outcomes[_FILTER] = "as here: no filter is applied to the estimates"
