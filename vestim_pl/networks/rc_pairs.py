"""Pairs of resistor and capacitor, as in an equivalent circuit, whose voltages are further features."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from vestim_pl.errors import ConfigurationError
from vestim_pl.functional.filters import varying_recurrence
from vestim_pl.networks.precision import full_precision

__all__ = ["RCPairs"]

_REFERENCE = 25.0  # degC at which a pair has the resistance of 1 ohm and the time constant that is asked for


class RCPairs(nn.Module):
    r"""Adds the voltages over pairs of resistor and capacitor that the current flows through to the features.

    A cell's voltage lags behind its current, by seconds to an hour, the more the colder it is. Equivalent circuits
    describe that by parallel pairs of a resistor and a capacitor in series. The voltage over such a pair is

    .. math:: u_t = a_t\, u_{t-1} + (1 - a_t)\, R_t I_t, \quad a_t = e^{-1 / (\tau R_t)}, \quad R_t = e^{k (25 - T_t)}

    with a resistance :math:`R` that grows exponentially towards the cold and a capacity that does not change. A network
    that is given some of them need not learn how temperature and current go together, and takes a cell that has warmed
    up less for one that was driven hard: that carries over to other drive cycles. How large each is in the cell, it
    learns; here the resistance is 1 ohm at 25 degC.

    A fresh lane starts from zero, a cell at rest. Where the voltages are known from the start of the recording on, as
    in the rows of a table, they are given with the features and not computed again: a lane that training starts in the
    middle of a recording has the right ones.

    Args:
        features: Names of the columns of the inputs, F of them.
        steps: Time constant :math:`\tau` at 25 degC of each of the K pairs, in steps of the recordings.
        cold_factor: :math:`k`, part by which resistances and time constants grow with every degree towards the cold.
        current: Name of the current's column, in amperes.
        temperature: Name of the temperature's column, in degC.

    Attributes:
        names: Names of the K voltages, for messages.
        options: The arguments but for the features, as plain values: for another one like it.

    Shape:
        inputs ``[B, L, F]``, or ``[B, L, F + K]`` where the voltages are known; state: ``[B, K]`` voltages after the
        step before; output ``[B, L, F + K]`` and the state after the last step.

    Raises:
        ConfigurationError: If an option is out of range or a column is not among the features.

    Example::

        >>> pairs = RCPairs(["Current", "Temp"], steps=[10])
        >>> inputs = torch.tensor([[[1.0, 25.0], [1.0, 25.0]]])
        >>> extended, state = pairs(inputs, pairs.zero_state(1))
        >>> extended[0, :, 2], state
        (tensor([0.0952, 0.1813]), tensor([[0.1813]]))

    """

    time_constants: Tensor

    def __init__(
        self,
        features: Sequence[str],
        steps: Sequence[float],
        cold_factor: float = 0.04,
        current: str = "Current",
        temperature: str = "Temp",
    ) -> None:
        super().__init__()
        for role, column in (("current", current), ("temperature", temperature)):
            if column not in features:
                raise ConfigurationError(
                    f"data.columns.{role}: {column!r} is not among data.features ({', '.join(features)}); add it, or do"
                    " without RC pairs: data.rc_pairs=[]"
                )
        if not steps or min(steps) < 1:
            raise ConfigurationError(
                f"data.rc_pairs: {list(steps)} is no list of time constants of at least 1 row; use for example "
                "[5,50,500], or [] for none"
            )
        if not 0 <= cold_factor <= 0.2:
            raise ConfigurationError(f"data.cold_factor: {cold_factor} is not within 0 and 0.2; use for example 0.04")
        self.options = {
            "steps": list(steps),
            "cold_factor": cold_factor,
            "current": current,
            "temperature": temperature,
        }
        self.features = len(features)
        self.names = [f"RC pair of {tau:g} steps" for tau in steps]
        self.cold_factor = cold_factor
        self.register_buffer("time_constants", torch.tensor([float(tau) for tau in steps]), persistent=False)
        self._current, self._temperature = list(features).index(current), list(features).index(temperature)

    def forward(self, inputs: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        """Extend a chunk of features and hand on the last voltages."""
        if inputs.shape[-1] == self.features:
            with full_precision(inputs):
                log_decay, drive = self.equations(inputs)
                inputs = torch.cat([inputs, varying_recurrence(drive, log_decay, state)], dim=-1)
        # A copy, so that a carried state does not hold on to the whole chunk.
        return inputs, inputs[:, -1, self.features :].clone()

    def equations(self, inputs: Tensor) -> tuple[Tensor, Tensor]:
        """Logarithm of each step's decay, and what the current adds, both ``[B, L, K]``."""
        resistance = (self.cold_factor * (_REFERENCE - inputs[..., self._temperature, None])).exp()
        log_decay = -1 / (self.time_constants * resistance)
        return log_decay, -torch.expm1(log_decay) * resistance * inputs[..., self._current, None]

    def zero_state(
        self, batch_size: int, device: torch.device | None = None, dtype: torch.dtype | None = None
    ) -> Tensor:
        """State of fresh lanes: cells at rest."""
        return torch.zeros(batch_size, len(self.time_constants), device=device, dtype=dtype)
