"""Add annealed Gaussian noise to the gradient."""

import hashlib
import logging
import math
from collections.abc import Sequence

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor
from torch.optim import Optimizer

from vestim_pl.errors import ConfigurationError
from vestim_pl.functional.finiteness import joint_norm
from vestim_pl.lightning_support.gradient_access import require_plain_gradients
from vestim_pl.lightning_support.loop_progress import begins_training, is_logged_step
from vestim_pl.lightning_support.step_finiteness import gradient_tensors

__all__ = ["GaussianNoise", "GradientNoise", "noise_std"]

_log = logging.getLogger("vestim_pl")


class GradientNoise(Callback):
    r"""Add decaying Gaussian noise to every gradient, to escape plateaus and poor initialisations.

    .. math:: \tilde g = g + \mathcal N(0, \sigma_t^2) \qquad \sigma_t^2 = \frac{\eta}{(1 + t)^\gamma}

    Source: Neelakantan et al. 2015, arXiv 1511.06807, who chose ``eta`` from 0.01, 0.3 and 1.0 with ``gamma`` 0.55.
    ``t`` is ``trainer.global_step``. The generator of each step is seeded with ``(seed, t)`` only. A resumed run
    therefore equals an uninterrupted one without any state in the checkpoint, the global generator is not touched, and
    all ranks draw the same noise.

    ``sigma`` is absolute and per element, so over n parameters the noise has the norm ``sigma sqrt(n)``: 7 for
    ``eta=0.01`` and 5,000 parameters. Compare ``gradient_noise/relative`` with 1; the callback warns once if the noise
    is larger than the gradient. Noise is added in ``on_before_optimizer_step``, in callback order and before
    ``trainer.gradient_clip_val``, which therefore clips gradient and noise together. Parameters without a gradient get
    no noise, so a skipped update stays skipped.

    ============================ ====================================================================================
    logged key                   meaning
    ============================ ====================================================================================
    ``gradient_noise/sigma``     standard deviation of the noise on each element
    ``gradient_noise/relative``  norm of the noise over the norm of the gradient before it
    ============================ ====================================================================================

    Both are logged at the trainer's ``log_every_n_steps``, with one host sync each time.

    Args:
        eta: Variance of the noise at the first step.
        gamma: Exponent of its decay.
        seed: Seed of the noise.

    Raises:
        ConfigurationError: If an argument is out of range; for a fused optimizer under a gradient scaler and for
            sharded strategies, where no hook sees the gradient.

    Example::

        >>> from lightning.pytorch import Trainer
        >>> from lightning.pytorch.demos.boring_classes import BoringModel
        >>> trainer = Trainer(max_steps=5, callbacks=[GradientNoise(eta=1e-4)], logger=False, accelerator="cpu",
        ...                   enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False)
        >>> trainer.fit(BoringModel())

    """

    def __init__(self, eta: float = 0.01, gamma: float = 0.55, seed: int = 0) -> None:
        name = type(self).__name__
        if not (eta > 0 and math.isfinite(eta)):
            raise ConfigurationError(f"{name}.eta: {eta} must be positive; leave the callback out for no noise")
        if not (gamma >= 0 and math.isfinite(gamma)):
            raise ConfigurationError(f"{name}.gamma: {gamma} must not be negative; the paper uses 0.55")
        if seed < 0:
            raise ConfigurationError(f"{name}.seed: {seed} must not be negative")
        self.eta = eta
        self.gamma = gamma
        self.seed = seed
        self._warned = False
        self._noise: dict[torch.device, GaussianNoise] = {}

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        if begins_training(trainer, stage):
            self._warned = False

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        require_plain_gradients(trainer, type(self).__name__)

    def on_before_optimizer_step(self, trainer: Trainer, pl_module: LightningModule, optimizer: Optimizer) -> None:
        grads = gradient_tensors(optimizer)
        if not grads:
            return
        step = trainer.global_step
        sigma = noise_std(step, self.eta, self.gamma)
        if is_logged_step(trainer):
            self._report(pl_module, grads, sigma)
        by_device: dict[torch.device, list[Tensor]] = {}
        for grad in grads:
            by_device.setdefault(grad.device, []).append(grad)
        for place, (device, group) in enumerate(by_device.items()):
            noise = self._noise.get(device) or self._noise.setdefault(device, GaussianNoise(device))
            # private: one kernel for all gradients; torch 2.13.0
            torch._foreach_add_(group, noise.draw(group, self.seed, step, place), alpha=sigma)

    def _report(self, pl_module: LightningModule, grads: list[Tensor], sigma: float) -> None:
        norm = joint_norm(grads)
        noise = sigma * math.sqrt(sum(grad.numel() for grad in grads))
        relative = noise / norm if norm > 0 else math.inf
        if not self._warned and relative > 1:
            self._warned = True
            _log.warning(
                "gradient noise of norm %.3g is larger than the gradient of norm %.3g; eta=%.3g would give noise of a"
                " tenth of the gradient norm",
                noise, norm, self.eta * (0.1 / relative) ** 2,
            )  # fmt: skip
        pl_module.log_dict({"gradient_noise/sigma": sigma, "gradient_noise/relative": relative}, batch_size=1)


def noise_std(step: int, eta: float, gamma: float) -> float:
    r"""Compute the standard deviation of the noise after ``step`` optimizer steps; see `GradientNoise`.

    Example::

        >>> noise_std(0, eta=0.01, gamma=0.55)
        0.1

    """
    return float((eta / (1.0 + step) ** gamma) ** 0.5)


class GaussianNoise:
    """Standard normal noise in the shapes of given tensors, determined only by a few integers.

    A private generator is seeded with these integers. The global generator is therefore not touched, a resumed run
    draws the same numbers as an uninterrupted one, and every rank draws the same numbers. All numbers are drawn in one
    call, into memory that is reused while the shapes stay the same. A CPU takes 4 to 5 ns per number; each type of
    device draws different numbers.

    Example::

        >>> layer = [torch.zeros(2, 3), torch.zeros(4)]
        >>> noise = GaussianNoise(torch.device("cpu"))
        >>> first = [part.clone() for part in noise.draw(layer, 1, 2)]
        >>> all(map(torch.equal, first, noise.draw(layer, 1, 2)))
        True

    """

    def __init__(self, device: torch.device) -> None:
        self._generator = torch.Generator(device)
        self._drawn = torch.empty(0, device=device)
        self._parts: list[Tensor] = []
        self._shapes: list[torch.Size] = []

    def draw(self, tensors: Sequence[Tensor], *numbers: int) -> list[Tensor]:
        """Draw float32 noise in the shape of each tensor, from seed, step and the like; the next call overwrites it."""
        shapes = list(map(Tensor.size, tensors))
        if shapes != self._shapes:
            sizes = [shape.numel() for shape in shapes]
            self._drawn = torch.empty(sum(sizes), dtype=torch.float32, device=self._drawn.device)
            self._parts = [part.view(shape) for part, shape in zip(self._drawn.split(sizes), shapes, strict=True)]
            self._shapes = shapes
        self._drawn.normal_(generator=self._generator.manual_seed(_hashed(*numbers)))
        return self._parts


def _hashed(*numbers: int) -> int:
    """Hash several integers to one of 64 bits that is the same in every process."""
    return int.from_bytes(hashlib.blake2b(repr(numbers).encode(), digest_size=8).digest(), "little")
