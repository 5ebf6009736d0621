import torch

from vestim_pl.diagnosis.step import narrow, seconds_of, step
from vestim_pl.functional.sequence_batch import SequenceBatch


def test_narrow_takes_scored_lanes_and_starts_them_fresh():
    batch = SequenceBatch.of(torch.arange(4.0)[:, None, None].expand(4, 5, 1), torch.zeros(4, 5))
    weight = torch.ones(4, 5)
    weight[0] = 0
    few = narrow(batch._replace(weight=weight, fresh=torch.zeros(4, dtype=torch.bool)), lanes=2)
    assert few.inputs[:, 0, 0].tolist() == [1.0, 2.0]
    assert few.fresh.tolist() == [True, True]


def test_step_uses_the_present_gradient_with_any_optimizer():
    for kind in (torch.optim.SGD, torch.optim.LBFGS):
        parameter = torch.nn.Parameter(torch.ones(2))
        parameter.grad = torch.ones(2)
        step(kind([parameter], lr=0.5))
        assert (parameter < 1).all()


def test_seconds_are_positive():
    assert seconds_of(lambda: torch.ones(3).sum()) > 0
