import random

import pytest
import torch

from vestim_pl.callbacks.learning_rate.plateau import PlateauProgress, PlateauRule, observe_metric

NAN, INF = float("nan"), float("inf")


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("mode", ["min", "max"])
@pytest.mark.parametrize("threshold_mode", ["rel", "abs"])
@pytest.mark.parametrize(("patience", "cooldown"), [(0, 0), (2, 0), (1, 3), (4, 2)])
def test_cuts_when_torch_cuts(seed, mode, threshold_mode, patience, cooldown):
    generator = random.Random(seed)
    options = {"mode": mode, "threshold_mode": threshold_mode, "patience": patience, "cooldown": cooldown}
    options["threshold"] = generator.choice([0.0, 1e-4, 0.05])
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    reference = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, factor=0.5, eps=0.0, **options)
    progress, rule, scale = PlateauProgress.start(mode), PlateauRule(**options), 1.0
    for _ in range(60):
        value = generator.choice([generator.uniform(0.1, 2.0), round(generator.uniform(0.5, 1.0), 1)])
        reference.step(value)
        progress, cut = observe_metric(progress, value, rule)
        scale *= 0.5 if cut else 1.0
        assert scale == optimizer.param_groups[0]["lr"]
        assert progress.best == reference.best
        assert progress.bad_evaluations == reference.num_bad_epochs
        assert progress.cooldown_left == reference.cooldown_counter


@pytest.mark.parametrize("bad", [NAN, INF, -INF])
def test_a_non_finite_value_changes_nothing(bad):
    rule = PlateauRule(patience=0, cooldown=2)
    progress = PlateauProgress(best=1.0, bad_evaluations=0, cooldown_left=1)
    assert observe_metric(progress, bad, rule) == (progress, False)
    assert observe_metric(PlateauProgress.start("max"), bad, PlateauRule("max"))[0] == PlateauProgress.start("max")
