import itertools
import random

import pytest
import torch

from tests.lightning_support.fake_trainer import FakeTrainer
from vestim_pl.errors import ConfigurationError
from vestim_pl.lightning_support.learning_rate import LearningRateFactors


def sgd(lr=0.1, groups=1):
    weights = [torch.nn.Parameter(torch.zeros(1)) for _ in range(groups)]
    for weight in weights:
        weight.grad = torch.ones(1)
    return torch.optim.SGD([{"params": [w], "lr": lr * (i + 1)} for i, w in enumerate(weights)]), weights


def attached(*optimizers, **values):
    factors = LearningRateFactors()
    for name, value in values.items():
        factors.set(name, value)
    factors.attach(FakeTrainer(optimizers=list(optimizers)))
    return factors


def rates(optimizer):
    return [group["lr"] for group in optimizer.param_groups]


def test_an_update_uses_the_product_and_leaves_the_scheduled_rates():
    optimizer, weights = sgd(groups=2)
    factors = attached(optimizer, warmup=0.5, plateau=0.5)

    optimizer.step()

    assert [w.item() for w in weights] == pytest.approx([-0.025, -0.05])
    assert rates(optimizer) == [0.1, 0.2]
    assert factors.used(optimizer) == [0.1 * 0.25, 0.2 * 0.25]


@pytest.mark.parametrize("by_keyword", [True, False])
def test_a_rate_that_the_closure_sets_is_the_new_scheduled_rate(by_keyword):
    optimizer, (weight,) = sgd()
    factors = attached(optimizer, recovery=0.1)
    seen = []

    def closure():
        seen.append(rates(optimizer))
        optimizer.param_groups[0]["lr"] = 0.5
        return 0.0

    optimizer.step(closure=closure) if by_keyword else optimizer.step(closure)

    assert seen == [[0.1]]
    assert weight.item() == pytest.approx(-0.05)
    assert factors.used(optimizer) == [0.05]
    assert rates(optimizer) == [0.5]


def test_lbfgs_which_reads_its_rate_before_the_closure_uses_the_product():
    weight = torch.nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.LBFGS([weight], lr=1.0, max_iter=1)
    attached(optimizer, warmup=0.5)

    def closure():
        optimizer.zero_grad()
        loss = (weight - 1).square().sum() / 4
        loss.backward()
        return loss

    optimizer.step(closure)
    assert weight.item() == pytest.approx(0.25)
    assert rates(optimizer) == [1.0]


def test_hooks_are_installed_once():
    optimizer, (weight,) = sgd()
    factors = attached(optimizer, warmup=0.5)
    factors.attach(FakeTrainer(optimizers=[optimizer]))

    optimizer.step()

    assert weight.item() == pytest.approx(-0.05)


def test_the_product_does_not_depend_on_the_order_of_the_callbacks():
    generator = random.Random(0)
    for _ in range(50):
        values = {name: generator.random() for name in ("warmup", "plateau", "recovery")}
        products = set()
        for order in itertools.permutations(values):
            factors = LearningRateFactors()
            for name in order:
                factors.set(name, values[name])
            products.add(factors.product)
        assert len(products) == 1


@pytest.mark.parametrize("factor", [float("nan"), float("inf"), -0.1])
def test_a_bad_factor_is_refused(factor):
    with pytest.raises(ValueError, match="must be finite and not negative"):
        LearningRateFactors().set("warmup", factor)


def test_an_exception_inside_the_closure_leaves_no_factor_behind():
    optimizer, _ = sgd()
    factors = attached(optimizer, warmup=0.5)

    def closure():
        raise RuntimeError("during a step")

    with pytest.raises(RuntimeError):
        optimizer.step(closure)
    assert optimizer.state_dict()["param_groups"][0]["lr"] == 0.1, "a checkpoint written now holds the scheduled rate"
    factors.restore([optimizer])
    assert rates(optimizer) == [0.1]


def test_a_step_after_an_abandoned_one_applies_the_factor_once():
    optimizer, (weight,) = sgd()
    attached(optimizer, warmup=0.5)
    with pytest.raises(ZeroDivisionError):
        optimizer.step(lambda: 1 / 0)

    optimizer.step()

    assert weight.item() == pytest.approx(-0.05)
    assert rates(optimizer) == [0.1]


def test_the_closure_sees_the_scheduled_rate_and_the_factors_know_the_effective_one():
    optimizer, _ = sgd()
    factors = attached(optimizer, warmup=0.5)
    seen = {}

    def closure():
        seen["group"], seen["effective"] = rates(optimizer), factors.effective(optimizer)
        seen["scheduled"], seen["saved"] = factors.scheduled(optimizer), optimizer.state_dict()["param_groups"][0]["lr"]

    optimizer.step(closure)

    assert seen == {"group": [0.1], "effective": [0.05], "scheduled": [0.1], "saved": 0.1}


def test_a_state_saved_after_a_step_that_failed_holds_the_scheduled_rate():
    class Fails(torch.optim.SGD):
        def step(self, closure=None):
            raise ZeroDivisionError

    optimizer = Fails([torch.nn.Parameter(torch.zeros(1))], lr=0.1)
    attached(optimizer, warmup=0.5)
    with pytest.raises(ZeroDivisionError):
        optimizer.step()
    assert optimizer.state_dict()["param_groups"][0]["lr"] == 0.1


def test_a_state_loaded_during_a_step_stays_loaded():
    optimizer, (weight,) = sgd()
    attached(optimizer, recovery=0.5)
    state = optimizer.state_dict()
    state["param_groups"][0]["lr"] = 0.01

    optimizer.step(lambda: optimizer.load_state_dict(state))

    assert weight.item() == pytest.approx(-0.005)
    assert rates(optimizer) == [0.01]


def test_a_rate_that_is_a_tensor_stays_the_same_tensor():
    weight = torch.nn.Parameter(torch.zeros(1))
    weight.grad = torch.ones(1)
    rate = torch.tensor(0.1)
    optimizer = torch.optim.Adam([weight], lr=rate, capturable=False, foreach=False)
    factors = attached(optimizer, warmup=0.5)

    optimizer.step()

    assert optimizer.param_groups[0]["lr"] is rate
    assert rate.item() == pytest.approx(0.1)
    assert factors.used(optimizer) == pytest.approx([0.05])


def test_a_step_that_the_scaler_skips_changes_nothing():
    optimizer, (weight,) = sgd()
    factors = attached(optimizer, warmup=0.5)
    scaler = torch.amp.GradScaler("cpu", init_scale=4.0)
    scaler.scale(weight.sum()).backward()
    weight.grad.fill_(float("inf"))

    scaler.step(optimizer)

    assert weight.item() == 0
    assert rates(optimizer) == [0.1]
    assert factors.used(optimizer) == [0.05], "before the first update, the rate that it will use"


def test_a_discarded_factor_is_gone():
    factors = LearningRateFactors()
    factors.set("plateau", 0.1)
    assert factors.product == 0.1
    factors.discard("plateau")
    factors.discard("never set")
    assert (factors.product, factors.get("plateau")) == (1.0, 1.0)


def test_factors_belong_to_one_trainer_and_go_with_it():
    first, second = FakeTrainer(), FakeTrainer()
    assert LearningRateFactors.of(first) is LearningRateFactors.of(first)
    assert LearningRateFactors.of(first) is not LearningRateFactors.of(second)


def test_an_optimizer_without_hooks_is_refused_by_name():
    class Homemade:
        pass

    with pytest.raises(ConfigurationError, match=r"Homemade is not a torch\.optim\.Optimizer"):
        attached(Homemade())
