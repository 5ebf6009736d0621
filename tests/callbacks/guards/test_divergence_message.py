import pytest

from vestim_pl.callbacks.guards.divergence_message import divergence_message, find_setting, remedies


def test_the_remedies_of_the_guide_with_numbers():
    assert remedies(1e-4, 400, [10, 8]) == (
        "lower the learning rate to 1e-05 (/ 10), shorten the lookback to 200 (/ 2), "
        "or widen the hidden sizes to [30, 24] (x 3)"
    )
    assert remedies(3e-4, None, None) == (
        "lower the learning rate to 3e-05 (/ 10), halve the lookback, or triple the hidden sizes"
    )
    assert "to 1 (/ 2)" in remedies(1.0, 1, None)


def test_the_message_is_one_line_in_the_words_of_the_guide():
    message = divergence_message("it broke", epoch=80, batch=3, learning_rate=1e-4, where=["a", "b"], lookback=400)
    assert message.startswith("Epoch 80, Batch 3: it broke (learning rate 0.0001, lookback 400); first in a, b. To fix")
    assert "\n" not in message
    assert "lookback" not in divergence_message("x", epoch=0, batch=0, learning_rate=1.0).split("To fix")[0]


@pytest.mark.parametrize(
    ("sources", "found"),
    [
        ([{"lookback": 7}], 7),
        ([None, {"a": {"b": {"lookback": 8}}}], 8),
        ([{"deep": {"lookback": 1}}, {"lookback": 2}], 2),
        ([{"lookback": None, "sampling": {"lookback": 9}}], 9),
        ([{}, "text", None], None),
    ],
)
def test_a_setting_is_found_the_nearest_to_the_top(sources, found):
    assert find_setting("lookback", *sources) == found
