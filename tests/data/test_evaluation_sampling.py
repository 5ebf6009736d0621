import pytest

from vestim_pl.data import StreamSampling, WindowSampling
from vestim_pl.errors import ConfigurationError


@pytest.mark.parametrize("sampling", [WindowSampling, StreamSampling])
@pytest.mark.parametrize("setting", ["stride", "batch_size", "lanes", "chunk"])
def test_both_samplings_refuse_an_evaluation_of_nothing(sampling, setting):
    with pytest.raises(ConfigurationError, match=rf"sampling\.evaluation_{setting}"):
        sampling(**{f"evaluation_{setting}": 0})


@pytest.mark.parametrize("sampling", [WindowSampling, StreamSampling])
def test_an_unknown_evaluation_is_refused(sampling):
    with pytest.raises(ConfigurationError, match=r"sampling\.evaluation: "):
        sampling(evaluation="whole")


def test_each_is_evaluated_as_it_is_trained_unless_told_otherwise():
    assert (WindowSampling().evaluation, StreamSampling().evaluation) == ("windows", "streams")
