import pytest
import torch

from vestim_pl.functional.finiteness import all_finite, find_nonfinite, total_norm

NAN, INF = float("nan"), float("inf")
DTYPES = [torch.float16, torch.bfloat16, torch.float32, torch.float64]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("bad", [NAN, INF, -INF])
@pytest.mark.parametrize("place", [0, 16, -1])
def test_one_bad_value_is_found_wherever_it_is(dtype, bad, place):
    tensor = torch.randn(37, dtype=torch.float64).to(dtype)
    assert all_finite([torch.zeros(3), tensor])
    tensor[place] = bad
    assert not all_finite([torch.zeros(3), tensor])


@pytest.mark.parametrize("dtype", DTYPES)
def test_the_largest_numbers_are_finite_although_their_squares_are_not(dtype):
    assert all_finite([torch.full((64,), torch.finfo(dtype).max, dtype=dtype), torch.full((3,), 1e30)])
    assert not all_finite([torch.full((64,), torch.finfo(dtype).max, dtype=dtype), torch.tensor([NAN])])


def test_infinities_of_both_signs_do_not_cancel():
    assert not all_finite([torch.tensor([INF, -INF])])


@pytest.mark.parametrize(
    "tensors",
    [
        [],
        [torch.zeros(0)],
        [torch.zeros(0), torch.ones(2)],
        [torch.tensor(3), torch.tensor([True])],
        [torch.tensor([1 + 2j]), torch.ones(1, dtype=torch.bfloat16), torch.ones(1, dtype=torch.float64)],
    ],
)
def test_empty_integer_complex_and_mixed_ones_are_finite(tensors):
    assert all_finite(tensors)


def test_a_complex_number_with_a_bad_part_is_not():
    assert not all_finite([torch.tensor([complex(1.0, NAN)])])


def test_what_is_bad_is_named_and_counted():
    named = [
        ("good", torch.ones(3)),
        ("one", torch.tensor([[NAN, 1.0], [INF, -INF]])),
        ("count", torch.tensor([1, 2])),
        ("two", torch.tensor([INF])),
        ("three", torch.tensor([NAN])),
    ]
    assert [str(bad) for bad in find_nonfinite(named, limit=2)] == ["one (1 NaN and 2 Inf of 4)", "two (1 Inf of 1)"]
    assert len(find_nonfinite(named)) == 3


def test_a_parameter_that_requires_a_gradient_is_only_looked_at():
    weight = torch.nn.Parameter(torch.tensor([NAN]))
    assert not all_finite([weight])
    assert weight.requires_grad


@pytest.mark.parametrize("dtype", DTYPES)
def test_norm_equals_the_norm_of_all_entries(dtype):
    tensors = [torch.randn(3, 4).to(dtype), torch.randn(5).to(dtype)]
    expected = torch.cat([tensor.double().flatten() for tensor in tensors]).norm()
    assert total_norm(tensors).item() == pytest.approx(expected.item(), rel=1e-5)


def test_norm_of_mixed_types_and_of_halves_above_their_range():
    assert total_norm([torch.tensor([3.0]), torch.tensor([4.0], dtype=torch.float64)]).item() == 5.0
    assert total_norm([torch.full((100,), 60000.0, dtype=torch.float16)]).item() == pytest.approx(600000.0)
