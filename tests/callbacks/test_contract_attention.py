"""The contract of every callback, tested in a training of attention instead of an LSTM."""

import pytest
import torch
from torch import nn

from tests.callbacks import test_contract as contract
from tests.callbacks.test_contract import make  # noqa: F401 - the fixture of the tests below
from vestim_pl.networks import build_network


class Attentive(contract.Foreign):
    """The foreign module with a Transformer in place of its LSTM and head."""

    def __init__(self, dropout: float = 0.0):
        super().__init__(dropout)
        spec = {"name": "Transformer", "hidden_sizes": [4, 4], "heads": 2, "lookback": 4, "dropout": dropout}
        self.rnn, self.head = build_network(spec, features=2), None

    def loss(self, batch):
        x, y = batch
        return nn.functional.mse_loss(self.rnn(x)[0], y)


def fresh(kind=Attentive, **options):
    torch.manual_seed(0)
    return kind(**options)


@pytest.fixture(autouse=True)
def _attentive(monkeypatch):
    monkeypatch.setattr(contract, "fresh", fresh)


def test_all_of_them_resumed_in_mid_epoch_equal_never_stopped(make, tmp_path):  # noqa: F811
    contract.test_resumed_in_mid_epoch_equals_never_stopped(make, "all", tmp_path)


@pytest.mark.slow
class TestEveryCallback:
    """Each callback alone."""

    test_it_learns = staticmethod(contract.test_foreign_module_learns_with_it_and_is_left_as_it_was)
    test_accumulated_batches = staticmethod(contract.test_accumulated_batches_make_one_step)
    test_plain_state = staticmethod(contract.test_its_state_is_plain_and_a_new_one_loads_it)
    test_resumed_in_mid_epoch = staticmethod(contract.test_resumed_in_mid_epoch_equals_never_stopped)
    test_resumed_after_a_rollback_or_a_skip = staticmethod(
        contract.test_stopped_after_a_rollback_or_a_skip_and_resumed_equals_never_stopped
    )
