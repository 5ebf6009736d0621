"""Check the effect of dropout on a network of one layer."""

from collections.abc import Sequence

from vestim_pl.diagnosis.finding import Finding, Severity
from vestim_pl.settings.override import Override

__all__ = ["check_dropout"]

CHECK = "dropout"


def check_dropout(dropout: float, hidden_sizes: Sequence[int], scatter_mv: float, recurrent: bool = True) -> Finding:
    """Report where dropout acts, and how much it scatters the estimate.

    VEstim passes dropout to ``torch.nn.LSTM``, which drops only between layers, so with one layer it does nothing. Here
    it acts on the output of every layer. With one layer it acts on the inputs of the head, and every training loss
    includes this scatter.

    Args:
        dropout: ``network.dropout``.
        hidden_sizes: ``network.hidden_sizes``.
        scatter_mv: Standard deviation in mV of the estimate over repeated passes with dropout on.
        recurrent: Whether the layers are recurrent, as in VEstim.

    Example::

        >>> finding = check_dropout(0.2, [10], scatter_mv=12.0)
        >>> finding.severity.value, finding.override
        ('note', 'network.dropout=0')

    """
    if dropout <= 0:
        return Finding(CHECK, Severity.OK, "network.dropout is 0")
    scatter = f"makes the training estimate scatter by {scatter_mv:.3g} mV at the start"
    if len(hidden_sizes) > 1:
        return Finding(CHECK, Severity.OK, f"dropout {dropout:g} on {len(hidden_sizes)} layers' outputs {scatter}")
    kept = (1 - dropout) * hidden_sizes[0]
    evidence = (
        f"dropout {dropout:g} with one layer acts on the inputs of the head ({kept:.3g} of {hidden_sizes[0]} units"
        f" left) and {scatter}"
    )
    if recurrent:
        evidence += "; in torch.nn.LSTM(dropout=...), as in VEstim, it would do nothing"
    return Finding(CHECK, Severity.NOTE, evidence, (Override("network.dropout", 0.0),))
