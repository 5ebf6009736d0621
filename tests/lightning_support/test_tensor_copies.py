import torch

from vestim_pl.lightning_support.tensor_copies import TensorCopies


def test_copies_follow_tensors_that_are_written_replaced_and_reshaped():
    live, copies = [torch.zeros(2), torch.zeros(1, dtype=torch.int64)], TensorCopies()
    copies.save(live)
    memory = copies.tensors[0].data_ptr()
    live[0].fill_(1.5)
    copies.save(list(live))
    assert copies.tensors[0].data_ptr() == memory
    assert [copy.tolist() for copy in copies.tensors] == [[1.5, 1.5], [0]]
    live[1] = torch.tensor([0.5])  # of another type: not to be rounded to the one before
    copies.save(live)
    assert copies.tensors[1].tolist() == [0.5]
    live[0].data = torch.ones(1)  # the same tensor, with room for less
    copies.save(live)
    assert copies.tensors[0].tolist() == [1.0]


def test_nothing_to_copy():
    copies = TensorCopies()
    copies.save([])
    copies.save([])
    assert copies.tensors == []
