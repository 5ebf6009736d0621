"""Put the test errors of several checkpoints side by side, with mean and spread."""

from dataclasses import dataclass

import pandas as pd

from vestim_pl.reports.error_groups import by_temperature

__all__ = ["ComparedCheckpoints", "Spread", "mean_errors"]

_FIGURES = ["rmse_mv", "mae_mv", "max_error_mv"]


@dataclass(frozen=True)
class Spread:
    """Mean and standard deviation in mV over checkpoints."""

    mean: float
    deviation: float


@dataclass(frozen=True)
class ComparedCheckpoints:
    """Errors of several checkpoints.

    Attributes:
        names: The checkpoints.
        overall: RMSE, MAE and largest error in mV of each, over all steps.
        spread: Mean and standard deviation of these three.
        temperatures: Ambient temperatures as text; empty if no recording names one.
        by_temperature: RMSE in mV of each checkpoint at each temperature.
        temperature_spread: Mean and standard deviation of these.
        recordings: Name of each recording, RMSE in mV of each checkpoint, and their mean and standard deviation.

    """

    names: list[str]
    overall: list[list[float]]
    spread: list[Spread]
    temperatures: list[str]
    by_temperature: list[list[float]]
    temperature_spread: list[Spread]
    recordings: list[tuple[str, list[float], Spread]]

    @classmethod
    def of(cls, errors: pd.DataFrame) -> "ComparedCheckpoints | None":
        """Compare checkpoints; None if the table has one only.

        Args:
            errors: From `error_table`.

        """
        if "checkpoint" not in errors:
            return None
        parts = {str(name): part for name, part in errors.groupby("checkpoint", sort=False)}
        overall = errors[errors["recording"] == "overall"].set_index("checkpoint")[_FIGURES].reindex(list(parts))
        ambient = pd.DataFrame({name: _ambient(part) for name, part in parts.items()}).T
        pivot = errors[errors["recording"] != "overall"].pivot_table(
            index="recording", columns="checkpoint", values="rmse_mv", dropna=False
        )[list(parts)]
        worst_first = pivot.mean(axis=1, skipna=False).sort_values(ascending=False, na_position="first").index
        return cls(
            names=list(parts),
            overall=overall.to_numpy().tolist(),
            spread=_spreads(overall),
            temperatures=[f"{degrees:g} °C" for degrees in ambient],
            by_temperature=ambient.to_numpy().tolist(),
            temperature_spread=_spreads(ambient),
            recordings=[
                (str(name), row.tolist(), _spreads(row.to_frame())[0])
                for name, row in pivot.loc[worst_first].iterrows()
            ],
        )


def mean_errors(errors: pd.DataFrame) -> pd.DataFrame:
    """Average the errors of several checkpoints by recording; a table of one checkpoint stays as it is.

    Example::

        >>> errors = pd.DataFrame({"checkpoint": ["x", "y"], "recording": "overall", "steps": 9, "rmse_mv": [4.0, 6.0],
        ...     "mae_mv": 1.0, "max_error_mv": 9.0})
        >>> mean_errors(errors).to_dict("records")
        [{'recording': 'overall', 'steps': 9.0, 'rmse_mv': 5.0, 'mae_mv': 1.0, 'max_error_mv': 9.0}]

    """
    if "checkpoint" not in errors:
        return errors
    kept = errors[["recording", "steps", *_FIGURES]]
    return kept.groupby("recording", sort=False).agg(_mean).reset_index()


def _mean(values: "pd.Series[float]") -> float:
    return float(values.mean(skipna=False))  # a NaN is not averaged away


def _ambient(errors: pd.DataFrame) -> "pd.Series[float]":
    return by_temperature(errors).set_index("temperature")["rmse_mv"]


def _spreads(table: pd.DataFrame) -> list[Spread]:
    means, deviations = table.mean(skipna=False), table.std(skipna=False)
    return [Spread(float(mean), float(spread)) for mean, spread in zip(means, deviations, strict=True)]
