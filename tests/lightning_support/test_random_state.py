# ruff: noqa: NPY002 - the global generator is what is tested
import io
import random

import numpy as np
import torch

from vestim_pl.lightning_support.random_state import random_states, restore_random_states


def draw():
    return random.gauss(0, 1), np.random.standard_normal(), np.random.randint(1000), torch.randn(3).tolist()


def test_all_generators_draw_the_same_again():
    random.gauss(0, 1), np.random.standard_normal()  # both keep half a pair of normal numbers
    states = random_states()
    first = [draw() for _ in range(3)]
    restore_random_states(states)
    assert [draw() for _ in range(3)] == first


def test_they_survive_a_file_that_holds_only_plain_types():
    file = io.BytesIO()
    torch.save(random_states(), file)
    first = draw()
    file.seek(0)
    restore_random_states(torch.load(file, weights_only=True))
    assert draw() == first
