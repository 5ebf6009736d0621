"""How often a step of the train command waits for a number from the device: only where a callback asks for it.

On a GPU every such read stops the host until the device is done. Counted on the CPU, with tensors that deny lying there
so that the same code runs that would on a device, and makes the same reads.
"""

import pytest
import torch
from lightning.pytorch import Callback
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from vestim_pl.app.configuration import build
from vestim_pl.app.estimator import build_estimator
from vestim_pl.app.trainer import build_trainer

READING_OPERATORS = {  # a number, or the shape of the result, has to come to the host
    torch.ops.aten._local_scalar_dense.default,
    torch.ops.aten.equal.default,
    torch.ops.aten.masked_select.default,
    torch.ops.aten.nonzero.default,
}
READING_METHODS = {torch.Tensor.tolist, torch.Tensor.numpy, torch.Tensor.cpu, torch.Tensor.__array__}
ASKING = ("step_guard", "finite_parameters", "recovery")  # the callbacks that look at every step
LOGGED_EVERY = 50


class Reads(TorchDispatchMode):
    """Counts reads by operators (``item``, ``if tensor``, masks) and by methods that never reach an operator."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0
        self.methods = _Methods(self)

    def __torch_dispatch__(self, operator, types, args=(), kwargs=None):
        by_mask = operator is torch.ops.aten.index.Tensor and any(
            index is not None and index.dtype == torch.bool for index in args[1]
        )
        self.count += by_mask or operator in READING_OPERATORS
        return operator(*args, **(kwargs or {}))


class _Methods(TorchFunctionMode):
    def __init__(self, reads: Reads) -> None:
        super().__init__()
        self.reads = reads

    def __torch_function__(self, function, types, args=(), kwargs=None):
        self.reads.count += function in READING_METHODS
        return function(*args, **(kwargs or {}))


class PerStep(Callback):
    """Reads from the start of a step to the start of the next one of the same epoch, the gathering of data included."""

    def __init__(self, reads: Reads) -> None:
        self.reads, self.starts = reads, {}

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        self.starts[trainer.current_epoch, batch_idx] = trainer.global_step, self.reads.count

    def of_ordinary_steps(self) -> list[int]:
        """Without those that are logged, and the first of an epoch, which makes the epoch's order on the host."""
        return [
            self.starts[epoch, index + 1][1] - count
            for (epoch, index), (step, count) in self.starts.items()
            if index and (epoch, index + 1) in self.starts and (step + 1) % LOGGED_EVERY
        ]


def reads_of_steps(config) -> list[int]:
    """Reads of each ordinary step of a training as the command sets it up."""
    datamodule = build(config.data, sampling=build(config.sampling))
    datamodule.setup("fit")
    estimator, trainer = build_estimator(config, datamodule), build_trainer(config)
    reads = Reads()
    counter = PerStep(reads)
    trainer.callbacks.append(counter)
    with reads, reads.methods:
        trainer.fit(estimator, datamodule=datamodule)
    return counter.of_ordinary_steps()


COMMON = (
    "trainer.accelerator=cpu", "trainer.check_val_every_n_epoch=2", "trainer.max_epochs=2", "network.hidden_sizes=[4]",
    f"trainer.log_every_n_steps={LOGGED_EVERY}",
    "callbacks.gradient_norm.first_n_steps=0",  # it observes each of these, and one in fifty after them
    "++optimizer.fused=true",  # plain optimizers read their count of steps, which lies on the host on a GPU too
)  # fmt: skip
WINDOWS = ("sampling.lookback=10", "sampling.batch_size=32", "network.dropout=0.1", "callbacks=[default,warmup]")
RESILIENT = (
    "+preset=resilient", "sampling.lookback=10", "sampling.batch_size=32", "callbacks.lookback_warmup=null",
    "callbacks.gradient_flow=null",
)  # fmt: skip
STREAMS = ("+preset=fast", "sampling.lookback=10", "sampling.lanes=2", "sampling.burn_in=5")


@pytest.mark.parametrize("sampling", [WINDOWS, STREAMS, RESILIENT], ids=["windows", "streams", "resilient"])
def test_a_step_reads_once_for_each_callback_that_asks_and_never_otherwise(compose, monkeypatch, sampling):
    monkeypatch.setattr(torch.Tensor, "is_cpu", False)
    reads = reads_of_steps(compose(*sampling, *COMMON))
    assert len(reads) > LOGGED_EVERY
    assert max(reads) <= len(ASKING)
    alone = ("crash_bundle",) if sampling is RESILIENT else ()  # it reads where no guard does
    without = [f"callbacks.{name}=null" for name in (*ASKING, *alone)]
    assert set(reads_of_steps(compose(*sampling, *COMMON, *without))) == {0}
