"""Add the voltages of RC pairs, as in an equivalent circuit, to the features."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from vestim_pl.errors import ConfigurationError
from vestim_pl.functional.filters import varying_recurrence
from vestim_pl.networks.precision import full_precision

__all__ = ["RCPairs"]

_REFERENCE = 25.0  # degC at which a pair has 1 ohm and the configured time constant


class RCPairs(nn.Module):
    r"""Add the voltages over pairs of resistor and capacitor, through which the current flows, to the features.

    A cell's voltage lags behind its current by seconds to an hour, and by more in the cold. Equivalent circuits model
    this with several RC pairs in series, each a resistor parallel to a capacitor. The voltage over such a pair is

    .. math:: u_t = a_t\, u_{t-1} + (1 - a_t)\, R_t I_t, \quad a_t = e^{-1 / (\tau R_t)}, \quad R_t = e^{k (25 - T_t)}

    with a resistance :math:`R` that grows exponentially towards the cold and a constant capacity. A network with these
    inputs need not learn the joint effect of temperature and current, and is less likely to mistake the warming of a
    cell for hard driving, so it generalises better to other drive cycles. The network learns how much each pair
    matters; here every resistance is 1 ohm at 25 degC.

    A fresh lane starts from zero, a cell at rest. If the voltages are known from the start of the recording, as in the
    rows of a table, they are passed with the features and not computed again. A lane that starts in the middle of a
    recording then has the right voltages.

    Args:
        features: Names of the F input columns.
        steps: Time constant :math:`\tau` of each of the K pairs at 25 degC, in steps of the recordings.
        cold_factor: :math:`k`, relative growth of resistances and time constants per degree of cooling.
        current: Name of the current column, in amperes.
        temperature: Name of the temperature column, in degC.

    Attributes:
        names: Names of the K voltages, for messages.
        options: Arguments except the features, as plain values, to build another instance.

    Shape:
        inputs ``[B, L, F]``, or ``[B, L, F + K]`` if the voltages are known; state: ``[B, K]`` voltages after the
        previous step; output ``[B, L, F + K]`` and the state after the last step.

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
                    f"data.columns.{role}: {column!r} is not among data.features ({', '.join(features)}); add it, or"
                    " disable RC pairs with data.rc_pairs=[]"
                )
        if not steps or min(steps) < 1:
            raise ConfigurationError(
                f"data.rc_pairs: {list(steps)} is not a list of time constants of at least 1 row; use for example "
                "[5,50,500], or [] for none"
            )
        if not 0 <= cold_factor <= 0.2:
            raise ConfigurationError(f"data.cold_factor: {cold_factor} is not between 0 and 0.2; use for example 0.04")
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
        """Add the voltages to a chunk of features and return it with the last voltages."""
        if inputs.shape[-1] == self.features:
            with full_precision(inputs):
                log_decay, drive = self.equations(inputs)
                inputs = torch.cat([inputs, varying_recurrence(drive, log_decay, state)], dim=-1)
        # A copy, so that a carried state does not keep the whole chunk in memory.
        return inputs, inputs[:, -1, self.features :].clone()

    def equations(self, inputs: Tensor) -> tuple[Tensor, Tensor]:
        """Compute the logarithm of each step's decay and the contribution of the current, both ``[B, L, K]``."""
        resistance = (self.cold_factor * (_REFERENCE - inputs[..., self._temperature, None])).exp()
        log_decay = -1 / (self.time_constants * resistance)
        return log_decay, -torch.expm1(log_decay) * resistance * inputs[..., self._current, None]

    def zero_state(
        self, batch_size: int, device: torch.device | None = None, dtype: torch.dtype | None = None
    ) -> Tensor:
        """Return the state of fresh lanes: cells at rest."""
        return torch.zeros(batch_size, len(self.time_constants), device=device, dtype=dtype)
