"""What dropout does on a network of one layer."""

from collections.abc import Sequence

from vestim_pl.diagnosis.finding import Finding, Severity

__all__ = ["check_dropout"]

CHECK = "dropout"


def check_dropout(dropout: float, hidden_sizes: Sequence[int], scatter_mv: float, recurrent: bool = True) -> Finding:
    """Say what is dropped where, and what it costs.

    VEstim hands dropout to ``torch.nn.LSTM``, which drops between layers only: with one layer nothing at all. Here it
    acts on every layer's output, the last too, so with one layer the head itself loses its inputs: every training
    loss has this scatter in it.

    Args:
        dropout: ``network.dropout``.
        hidden_sizes: ``network.hidden_sizes``.
        scatter_mv: Standard deviation in mV of the estimate over repeated passes with dropout on.
        recurrent: Whether the layers are recurrent, as those that VEstim drops nothing in.

    Example::

        >>> finding = check_dropout(0.2, [10], scatter_mv=12.0)
        >>> finding.severity.value, finding.override
        ('note', 'network.dropout=0.0')

    """
    if dropout <= 0:
        return Finding(CHECK, Severity.OK, "network.dropout is 0")
    scatter = f"makes the training estimate scatter by {scatter_mv:.3g} mV at the start"
    if len(hidden_sizes) > 1:
        return Finding(CHECK, Severity.OK, f"dropout {dropout:g} on {len(hidden_sizes)} layers' outputs {scatter}")
    kept = (1 - dropout) * hidden_sizes[0]
    evidence = (
        f"dropout {dropout:g} with one layer acts here on what the head reads ({kept:.3g} of {hidden_sizes[0]} units"
        f" left) and {scatter}"
    )
    if recurrent:
        evidence += "; in torch.nn.LSTM(dropout=...), as VEstim used it, it would do nothing"
    return Finding(CHECK, Severity.NOTE, evidence, "network.dropout=0.0")
