import numpy as np
import pandas as pd

from vestim_pl.diagnosis.checks.epoch_values import epoch_values, last_tenth


def test_epochs_come_in_order_and_rows_without_an_epoch_are_left_out():
    metrics = pd.DataFrame(
        {"key": ["a", "b", "a", "a"], "epoch": [2, 0, 1, np.nan], "step": [29, 9, 19, 5], "value": [3.0, 7.0, 4.0, 9.0]}
    )
    epochs, values = epoch_values(metrics, "a")
    assert (epochs.tolist(), values.tolist()) == ([1.0, 2.0], [4.0, 3.0])
    assert len(epoch_values(metrics, "c")[0]) == 0


def test_the_last_of_few_values_stands_for_the_end():
    assert last_tenth(np.array([5.0, 4.0, 3.0])) == 3.0
    assert last_tenth(np.array([9.0] * 70 + [1.0] * 15 + [2.0] * 15)) == 2.0
