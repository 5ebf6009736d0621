"""What attention computes with is noted exactly, and nothing is left behind."""

import pytest
import torch
from torch import nn
from torch.nn.functional import scaled_dot_product_attention

from vestim_pl.lightning_support.attention_calls import last_weights, recorded_attention


class Attends(nn.Module):
    def __init__(self, mask=None, scale=None):
        super().__init__()
        self.mask, self.scale = mask, scale

    def forward(self, query, key, value):
        return scaled_dot_product_attention(query, key, value, self.mask, scale=self.scale)


def tensors(steps=6):
    return [torch.randn(2, 3, steps, 4, dtype=torch.float64) for _ in range(3)]


@pytest.mark.parametrize("scale", [None, 0.3])
@pytest.mark.parametrize("mask", [None, "added", "seen"])
def test_the_weights_give_back_the_output_of_the_last_query(mask, scale):
    seen = torch.ones(6, 6, dtype=torch.bool).tril()
    seen[-1, 1] = False
    masks = {None: None, "added": torch.randn(6, 6, dtype=torch.float64), "seen": seen}
    model = nn.ModuleDict({"inner": Attends(masks[mask], scale)})
    with recorded_attention(model) as calls:
        output = model["inner"](*tensors())
    call = calls["inner"]
    weights = last_weights(call)
    torch.testing.assert_close((weights.unsqueeze(-2) @ call.value).squeeze(-2), output[:, :, -1])
    torch.testing.assert_close(weights.sum(-1), torch.ones(2, 3, dtype=torch.float64))


def test_no_hook_stays_behind_even_after_an_error():
    model = nn.ModuleDict({"inner": Attends()})
    with pytest.raises(RuntimeError), recorded_attention(model):
        model["inner"](torch.zeros(1, 1, 2, 3), torch.zeros(1, 1, 2, 5), torch.zeros(1, 1, 2, 5))
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())
