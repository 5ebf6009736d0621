"""``scheduler=step`` and ``scheduler=cosine_warm_restarts`` in the train command."""

import pytest
import torch

from vestim_pl.errors import ConfigurationError
from vestim_pl.train import train

SCHEDULES = {
    "step": ["scheduler=step", "scheduler.period=1"],
    "cosine_warm_restarts": ["scheduler=cosine_warm_restarts", "scheduler.t0=1"],
}


@pytest.mark.parametrize("name", SCHEDULES)
def test_stopped_in_the_middle_of_an_epoch_and_resumed_equals_never_stopped(compose, small, tmp_path, name):
    options = [*small, *SCHEDULES[name], "trainer.max_epochs=3", "callbacks=[default,warmup]", "test=false"]
    options += ["callbacks.warmup.duration=15"]
    whole = train(compose(*options, f"run_dir={tmp_path / 'whole'}"))
    batches = whole.trainer.num_training_batches
    stop = 2 * batches - 3  # after the first cut or restart, in the middle of the second epoch
    assert batches > 4
    train(compose(*options, f"run_dir={tmp_path / 'parts'}", f"+trainer.max_steps={stop}"))
    last = tmp_path / "parts" / "checkpoints" / "last.ckpt"
    assert torch.load(last, weights_only=True)["global_step"] == stop
    parts = train(compose(*options, f"run_dir={tmp_path / 'parts'}", f"ckpt_path={last}"))
    for (key, a), b in zip(whole.estimator.state_dict().items(), parts.estimator.state_dict().values(), strict=True):
        assert torch.equal(a, b), key
    ends = [run.trainer.optimizers[0].param_groups[0]["lr"] for run in (whole, parts)]
    assert ends[0] == ends[1] == pytest.approx({"step": 1e-3 / 8, "cosine_warm_restarts": 1e-3}[name])


def test_another_schedule_is_refused_on_resume(compose, small, tmp_path):
    options = [*small, "trainer.max_epochs=1", "test=false"]
    train(compose(*options, "scheduler=step"))
    last = tmp_path / "run" / "checkpoints" / "last.ckpt"
    repeat = r"scheduler\.name cosine \(was step\); repeat scheduler=step scheduler\.period=10 scheduler\.factor=0\.5"
    with pytest.raises(ConfigurationError, match=repeat):
        train(compose(*options, "scheduler=cosine", f"ckpt_path={last}"))
