"""Attention over a bounded past equals attention computed step by step."""

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel

from vestim_pl.networks.attention import AttentionLayer, decay_rates, sliding_attention


def reference(query, key, value, rates, lookback, missing):
    """Softmax over the last ``lookback`` steps, one query at a time."""
    lanes, heads, queries, size = query.shape
    output = torch.zeros_like(query)
    for lane in range(lanes):
        for head in range(heads):
            for index in range(queries):
                own = key.shape[2] - queries + index
                steps = torch.arange(max(int(missing[lane]), own - lookback + 1), own + 1)
                scores = key[lane, head, steps] @ query[lane, head, index] / size**0.5
                weights = (scores - rates[head] * (own - steps)).softmax(0)
                output[lane, head, index] = weights @ value[lane, head, steps]
    return output


@pytest.mark.parametrize(
    ("queries", "keys", "lookback"),
    [(1, 1, 5), (1, 5, 5), (3, 7, 5), (9, 9, 5), (23, 27, 5), (2, 23, 23), (23, 23, 40), (12, 12, 1), (7, 12, 6)],
)
def test_blocks_of_queries_equal_one_query_at_a_time(queries, keys, lookback):
    query = torch.randn(2, 3, queries, 4, dtype=torch.float64)
    key, value = torch.randn(2, 2, 3, keys, 4, dtype=torch.float64).unbind()
    rates = torch.tensor([0.0, 0.1, 2.0], dtype=torch.float64)
    missing = torch.tensor([0, min(3, keys - queries)])
    expected = reference(query, key, value, rates, lookback, missing)
    found = sliding_attention(query, key, value, rates, lookback, missing)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)


def test_rates_cover_time_constants_up_to_the_lookback():
    assert (1 / decay_rates(2, 400)).tolist() == pytest.approx([400, 20])
    assert decay_rates(3, 1).tolist() == [1, 1, 1]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("lookback", [1, 7, 400])
def test_half_precision_has_no_row_without_a_key(dtype, lookback):
    layer = AttentionLayer(6, 8, heads=2, lookback=lookback).to(dtype)
    cache = torch.zeros(2, lookback - 1, 16, dtype=dtype)
    missing = torch.tensor([lookback - 1, 0])
    output, kept = layer(torch.randn(2, 50, 6, dtype=dtype), cache, missing)
    output.float().square().sum().backward()
    assert torch.isfinite(output).all()
    assert torch.isfinite(kept).all()
    assert all(torch.isfinite(parameter.grad).all() for parameter in layer.parameters())


@pytest.mark.parametrize("cached", [False, True])
def test_the_fused_kernel_takes_every_call_so_that_no_matrix_of_all_pairs_is_kept(cached):
    layer = AttentionLayer(8, 8, heads=2, lookback=20)
    cache, missing = (torch.zeros(3, 19, 16), torch.tensor([19, 3, 0])) if cached else (None, None)
    with sdpa_kernel(SDPBackend.FLASH_ATTENTION):  # raises an error if it cannot compute a call
        layer(torch.randn(3, 50, 8, requires_grad=True), cache, missing)[0].sum().backward()
