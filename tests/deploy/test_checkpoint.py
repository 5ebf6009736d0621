"""Checkpoints that may be damaged or malicious, and estimators built from them."""

import os
import zipfile

import pytest
import torch

from vestim_pl.deploy.checkpoint import copy_estimator, load_checkpoint, load_estimator
from vestim_pl.errors import ConfigurationError
from vestim_pl.estimator import VoltageEstimator

TRAINING = {
    "state_dict": {"weight": torch.arange(2000.0), "bias": torch.ones(3)},
    "hyper_parameters": {"features": ["SOC"]},
    "epoch": 1, "global_step": 7, "loops": {}, "callbacks": {}, "lr_schedulers": [],
    "optimizer_states": [{"state": {0: {"exp_avg": torch.ones(2000)}}, "param_groups": [{"lr": 0.1}]}],
}  # fmt: skip


@pytest.fixture
def save(tmp_path):
    def _save(content):
        torch.save(content, tmp_path / "some.ckpt")
        return tmp_path / "some.ckpt"

    return _save


def refused(path, **options):
    with pytest.raises(ConfigurationError, match=f"^ckpt_path: {path} ") as caught:
        load_checkpoint(path, **options)
    text = str(caught.value)
    assert "\n" not in text
    assert "weights_only" not in text
    assert "; give " in text
    return text


def test_a_whole_checkpoint_is_loaded(save):
    checkpoint = load_checkpoint(save(TRAINING), to_resume=True)
    assert checkpoint["global_step"] == 7
    assert torch.equal(checkpoint["state_dict"]["weight"], torch.arange(2000.0))


@pytest.mark.parametrize("share", [0.0, 0.01, 0.3, 0.6, 0.9, 0.999])
def test_a_truncated_file_is_refused(save, share):
    path = save(TRAINING)
    os.truncate(path, int(share * path.stat().st_size))
    refused(path)


def test_a_flipped_bit_in_any_record_is_found(save):
    path = save(TRAINING)
    whole = path.read_bytes()
    with zipfile.ZipFile(path) as archive:
        records = archive.infolist()
    for record in records:
        if not record.file_size:
            continue
        start = whole.index(archive_bytes(path, record), record.header_offset)
        for position in (start, start + record.file_size // 2, start + record.file_size - 1):
            flipped = bytearray(whole)
            flipped[position] ^= 0x10
            path.write_bytes(flipped)
            assert f"damaged: {record.filename} does not match its checksum" in refused(path)
        path.write_bytes(whole)


def archive_bytes(path, record):
    with zipfile.ZipFile(path) as archive:
        return archive.read(record)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_non_finite_weights_are_refused(save, value):
    weights = TRAINING["state_dict"] | {"bias": torch.tensor([1.0, value, 1.0])}
    assert "non-finite numbers: bias (1 " in refused(save(TRAINING | {"state_dict": weights}))


def test_non_finite_moments_matter_only_to_resume(save):
    states = [{"state": {0: {"exp_avg": torch.tensor([float("nan")])}}, "param_groups": []}]
    path = save(TRAINING | {"optimizer_states": states})
    load_checkpoint(path)
    assert "non-finite numbers: optimizer.0.state.0.exp_avg (1 NaN of 1)" in refused(path, to_resume=True)


def test_weights_alone_are_enough_except_to_resume(save):
    path = save({"state_dict": TRAINING["state_dict"]})
    load_checkpoint(path)
    assert "no training to resume" in refused(path, to_resume=True)


class Harmful:
    def __reduce__(self):
        return (os.mkdir, ("executed",))


@pytest.mark.parametrize("content", [Harmful(), {"state_dict": Harmful()}, TRAINING | {"hyper_parameters": Harmful()}])
def test_nothing_in_it_runs(save, tmp_path, content):
    assert "could run foreign code" in refused(save(content))
    assert not (tmp_path / "executed").exists()


@pytest.mark.parametrize(
    "content",
    [
        3,
        [],
        {},
        {"state_dict": {}},
        {"state_dict": 1},
        {"state_dict": {"weight": 1}},
        {"state_dict": {1: torch.ones(1)}},
    ],
)
def test_a_file_of_another_kind_is_refused(save, content):
    refused(save(content))


def test_a_tensor_larger_than_the_file_is_refused(save):
    assert "larger than the file" in refused(save({"state_dict": {"weight": torch.zeros(1).expand(10**14)}}))


def test_a_compressed_archive_is_not_unpacked(tmp_path):
    path = tmp_path / "bomb.ckpt"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", b"\0" * 2_000_000)
    assert "compressed" in refused(path)


def test_other_files_are_refused(tmp_path):
    (tmp_path / "notes.md").write_text("# notes")
    torch.save(TRAINING, tmp_path / "legacy.ckpt", _use_new_zipfile_serialization=False)
    os.mkfifo(tmp_path / "pipe")
    assert "does not exist" in refused(tmp_path / "nowhere.ckpt")
    assert "is not a file" in refused(tmp_path)
    assert "is not a file" in refused(tmp_path / "pipe")
    assert "is no checkpoint" in refused(tmp_path / "notes.md")
    assert "is no checkpoint" in refused(tmp_path / "legacy.ckpt")


@pytest.mark.parametrize("settings", [{}, {"hyper_parameters": 3}, {"hyper_parameters": {"features": ["SOC"]}}])
def test_a_checkpoint_of_another_module_is_no_estimator(save, settings):
    path = save({"state_dict": TRAINING["state_dict"], **settings})
    with pytest.raises(
        ConfigurationError, match=r"some\.ckpt is no checkpoint of a voltage estimator: .*; give "
    ) as caught:
        load_estimator(path)
    assert "\n" not in str(caught.value)


def test_an_estimator_is_loaded_only_from_a_checked_file(save):
    with pytest.raises(ConfigurationError, match="could run foreign code"):
        load_estimator(save(TRAINING | {"hyper_parameters": Harmful()}))


def test_a_copy_is_for_deployment_and_leaves_the_original_unchanged():
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
    # frozen weights take another kernel, which rounds differently on some processors
    torch.testing.assert_close(copied(inputs)[0], estimator.eval()(inputs)[0])
    with torch.no_grad():
        estimator.network.head.bias += 1.0
    assert not torch.equal(copied(inputs)[0], estimator(inputs)[0])
