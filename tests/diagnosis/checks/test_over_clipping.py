import math

import pandas as pd

from vestim_pl.diagnosis.checks.clipping import ClipSetting
from vestim_pl.diagnosis.checks.over_clipping import check_over_clipping


def metrics(fractions: list[float], p90: float = 2.0) -> pd.DataFrame:
    count = len(fractions)
    keys = ["grad_norm/clip_fraction"] * count + ["grad_norm/p90"] * count
    return pd.DataFrame({"key": keys, "epoch": 0, "step": 0, "value": [*fractions, *[p90] * count]})


def test_clipping_from_end_to_end_is_a_warning():
    finding = check_over_clipping(metrics([1.0, 1.0, 0.5]), ClipSetting(0.5))
    assert (finding.severity, finding.override) == ("warning", "trainer.gradient_clip_val=2")
    assert "clipping at 0.5 engaged in 100 % of the steps of a median epoch" in finding.evidence
    assert "in 2 of 3 epochs" in finding.evidence


def test_clipping_of_spikes_is_as_it_should_be():
    assert check_over_clipping(metrics([1.0, 0.05, 0.1, math.nan]), ClipSetting(1.0)).severity == "ok"


def test_without_figures_it_is_not_known():
    assert check_over_clipping(metrics([]), ClipSetting(1.0)).severity == "note"


def test_the_bound_of_an_adaptive_limit_is_named_where_it_stands():
    node = {"_target_": "vestim_pl.callbacks.AdaptiveGradientClipping", "max_norm": 1.0}
    clip = ClipSetting.of({"gradient_clip_val": None}, {"adaptive_clipping": node})
    assert check_over_clipping(metrics([1.0] * 3), clip).override == "callbacks.adaptive_clipping.max_norm=2"


def test_norms_of_a_divergence_and_of_values_give_no_threshold():
    diverged = check_over_clipping(metrics([1.0] * 3), ClipSetting(0.5), diverged=True)
    assert (diverged.severity, diverged.override) == ("warning", "")
    values = check_over_clipping(metrics([1.0] * 3), ClipSetting(0.5, by_value=True))
    assert (values.severity, values.override) == ("warning", "")
