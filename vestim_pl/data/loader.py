"""Data loader that resumes in the middle of an epoch."""

from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import Any, Generic, TypeVar

from torch.utils.data import DataLoader

from vestim_pl.data.indexing.epoch_batch_sampler import EpochBatchSampler
from vestim_pl.errors import ConfigurationError

__all__ = ["ResumableLoader"]

Index = TypeVar("Index")
Batch = TypeVar("Batch")


class _Rest(Generic[Index]):
    """Batches of a sampler from a given one on."""

    def __init__(self, sampler: EpochBatchSampler[Index], start: int) -> None:
        self.sampler = sampler
        self.start = start

    def __len__(self) -> int:
        return len(self.sampler) - self.start

    def __iter__(self) -> Iterator[Index]:
        return islice(iter(self.sampler), self.start, None)


class ResumableLoader(Generic[Index, Batch]):
    """Load whole batches, and resume from a Lightning checkpoint at exactly the next batch.

    Lightning saves a loader's ``state_dict()`` in checkpoints. The state is the epoch and the number of finished
    batches. The order follows from (seed, epoch), so skipping finished batches only skips indices.

    The loader uses torch's ``DataLoader`` for workers and pinned memory, but is not a ``DataLoader``. Lightning would
    rebuild a ``DataLoader`` around its own sampler for several processes and for prediction. The batch sampler must
    therefore divide the data among the ranks itself.

    Iteration begins with the first batch, not with ``iter()``, because Lightning calls ``iter()`` on a resumed epoch
    before it calls ``set_epoch``.

    If a module uses ``trainer.estimated_stepping_batches`` in ``configure_optimizers``, Lightning builds the loaders
    before it restores the checkpoint's loops, and never loads their state. Keep the loader's state in the
    ``state_dict`` of a ``LightningDataModule`` too, as ``VoltageDataModule`` does.

    Args:
        data: Data set with ``__getitems__(index)`` that returns a batch.
        batch_sampler: Yields one index a batch, divides the data among ranks, has ``epoch`` and ``set_epoch``.
        num_workers: Processes that prepare batches ahead.
        pin_memory: Whether batches are in page-locked memory, so copies to a GPU overlap with computation.
        processed: Returns the number of batches of the epoch that training has finished, or None. A batch that was
            delivered but interrupted is then delivered again after a resume.

    Example::

        >>> from vestim_pl.data.indexing.window_batch_sampler import WindowBatchSampler
        >>> class Squares:
        ...     def __getitems__(self, index): return [int(i) ** 2 for i in index]
        >>> loader = ResumableLoader(Squares(), WindowBatchSampler(6, 2, shuffle=False))
        >>> batches = iter(loader)
        >>> next(batches), loader.state_dict()
        ([0, 1], {'epoch': 0, 'batch': 1, 'batches': 3})
        >>> resumed = ResumableLoader(Squares(), WindowBatchSampler(6, 2, shuffle=False))
        >>> resumed.load_state_dict(loader.state_dict())
        >>> list(resumed)
        [[4, 9], [16, 25]]

    """

    def __init__(
        self,
        data: Any,
        batch_sampler: EpochBatchSampler[Index],
        *,
        num_workers: int = 0,
        pin_memory: bool = False,
        processed: Callable[[], int | None] | None = None,
    ) -> None:
        self.data = data  # not `dataset`: Lightning treats an object with that attribute as a DataLoader
        self.batch_sampler = batch_sampler
        self.num_workers = num_workers
        self.pin_memory = pin_memory
        self._processed = processed
        self._running_epoch: int | None = None
        self._delivered = 0
        self._resume: dict[str, int] | None = None

    @property
    def sampler(self) -> EpochBatchSampler[Index]:
        """The batch sampler, under the name where Lightning looks for ``set_epoch``."""
        return self.batch_sampler

    def __len__(self) -> int:
        """Return the batches of a whole epoch, even if fewer are left after a resume."""
        return len(self.batch_sampler)

    def __iter__(self) -> Iterator[Batch]:
        return self._iterate()

    def state_dict(self) -> dict[str, int]:
        """Return the epoch, its finished batches, and its number of batches."""
        epoch = self.batch_sampler.epoch
        if self._resume is not None and self._resume["epoch"] == epoch:
            return dict(self._resume)
        batch = self._delivered if self._running_epoch == epoch else 0
        if self._processed is not None and batch and self._processed() == batch - 1:
            batch -= 1  # delivered, but training on it was interrupted
        return {"epoch": epoch, "batch": batch, "batches": len(self)}

    def load_state_dict(self, state_dict: dict[str, int]) -> None:
        """Resume there, unless ``set_epoch`` chooses another epoch before the next iteration."""
        self._resume = dict(state_dict)
        self.batch_sampler.set_epoch(state_dict["epoch"])

    def _iterate(self) -> Iterator[Batch]:
        start = self._start()
        self._running_epoch, self._delivered = self.batch_sampler.epoch, start
        for batch in self._gather(_Rest(self.batch_sampler, start)):
            self._delivered += 1
            yield batch

    def _gather(self, rest: _Rest[Index]) -> Iterable[Batch]:
        if not (self.num_workers or self.pin_memory):
            return map(self.data.__getitems__, rest)  # without a DataLoader, a batch of streams costs half as much
        loader: DataLoader[Batch] = DataLoader(
            self.data,
            batch_sampler=rest,  # type: ignore[arg-type]
            num_workers=self.num_workers,
            pin_memory=self.pin_memory,
            collate_fn=_keep,
        )
        return loader

    def _start(self) -> int:
        """Return the first batch of this iteration: the next one after a resume within the epoch, else 0."""
        resume, self._resume = self._resume, None
        if resume is None or resume["epoch"] != self.batch_sampler.epoch or resume["batch"] == 0:
            return 0
        if resume["batches"] != len(self):
            raise ConfigurationError(
                f"ckpt_path: the checkpoint stands at batch {resume['batch']} of {resume['batches']} of its epoch, but "
                f"an epoch now has {len(self)}; resume with the same data, sampling and number of devices"
            )
        return resume["batch"]


def _keep(batch: Batch) -> Batch:
    return batch
