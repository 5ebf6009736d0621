"""From a checkpoint file to an estimator: nothing but such a file will do, and a mistake is one line."""

import pytest
import torch

from vestim_pl.deploy.checkpoint import copy_estimator, load_estimator
from vestim_pl.errors import ConfigurationError
from vestim_pl.estimator import VoltageEstimator


def test_a_missing_file_is_named():
    with pytest.raises(ConfigurationError, match=r"^ckpt_path: nowhere.ckpt does not exist; give last.ckpt"):
        load_estimator("nowhere.ckpt")


@pytest.mark.parametrize("content", [b"", b"text", {"state_dict": {}}, {"hyper_parameters": {"features": ["SOC"]}}, 3])
def test_a_file_of_another_kind_is_refused_in_one_line(tmp_path, content):
    path = tmp_path / "some.ckpt"
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        torch.save(content, path)
    with pytest.raises(ConfigurationError, match=r"some\.ckpt is (no checkpoint of a|empty).*; give ") as caught:
        load_estimator(path)
    assert "\n" not in str(caught.value)


def test_nothing_is_unpickled(tmp_path):
    class Harmful:
        def __reduce__(self):
            return (print, ("unpickled",))

    torch.save({"hyper_parameters": Harmful(), "state_dict": {}}, tmp_path / "some.ckpt")
    with pytest.raises(ConfigurationError, match="could run foreign code"):
        load_estimator(tmp_path / "some.ckpt")


def test_a_copy_is_for_deployment_and_the_original_goes_on_training():
    estimator = VoltageEstimator(["Current"], {"name": "LSTM", "hidden_sizes": [4], "dropout": 0.5}).train()
    estimator.scaler.fit(torch.randn(50, 1), torch.randn(50))
    drawn = torch.get_rng_state()
    copied = copy_estimator(estimator)
    assert torch.equal(torch.get_rng_state(), drawn)
    assert estimator.training
    assert not any(module.training for module in copied.modules())
    assert all(parameter.requires_grad for parameter in estimator.parameters())
    assert not any(parameter.requires_grad for parameter in copied.parameters())
    inputs = torch.randn(2, 5, 1)
    # Frozen weights take another kernel than those that could be trained, and on some processors it rounds otherwise.
    torch.testing.assert_close(copied(inputs)[0], estimator.eval()(inputs)[0])
    with torch.no_grad():
        estimator.network.head.bias += 1.0
    assert not torch.equal(copied(inputs)[0], estimator(inputs)[0])
