import pytest
import torch

from vestim_pl.lightning_support.processes import process_count


@pytest.mark.parametrize("devices", ["auto", -1, "-1"])
@pytest.mark.parametrize(("accelerator", "expected"), [("auto", 4), ("gpu", 4), ("cpu", 1)])
def test_all_devices_are_the_gpus_of_the_machine(devices, accelerator, expected, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)
    assert process_count(devices, accelerator) == expected


@pytest.mark.parametrize(
    ("devices", "expected"), [(1, 1), ("1", 1), ("3", 3), ([1], 1), ([0, 3], 2), ("0,3", 2), ("1,", 1)]
)
def test_a_number_and_a_list_in_either_form(devices, expected):
    assert process_count(devices, "cpu") == expected
    assert process_count(devices, "cpu", nodes=2) == 2 * expected
