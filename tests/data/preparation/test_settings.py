import json

import pytest

from vestim_pl.data import Columns, FileOptions, SocSource, Units
from vestim_pl.data.preparation.settings import PreparationSettings
from vestim_pl.errors import ConfigurationError

FULL = PreparationSettings(
    features=("SOC", "I", "Temp"),
    columns=Columns(current="I"),
    files=FileOptions(decimal=","),
    units=Units(current="mA"),
    current_sign="discharge_positive",
    soc=SocSource(capacity_ah=3.0, ocv=[[0, 3.0], [1, 4.2]]),
    temperature="name",
    resample=1.0,
    derived={"Slow": "low_pass(current, 60)"},
    interval=1.0,
)


def test_it_survives_a_checkpoint_as_plain_values():
    stored = json.loads(json.dumps(FULL.to_dict()))
    assert PreparationSettings.from_dict(stored).to_dict() == FULL.to_dict()
    assert PreparationSettings.from_dict({**stored, "of_a_later_version": 1}).to_dict() == FULL.to_dict()


def test_derived_features_are_inputs_and_roles_follow_the_columns():
    assert FULL.features == ("SOC", "I", "Temp", "Slow")
    assert FULL.feature_roles == {"SOC": "soc", "I": "current", "Temp": "temperature", "Slow": "Slow"}


def test_a_command_overrides_the_checkpoint_where_it_sets_something():
    own = PreparationSettings(columns=Columns(voltage="U"), temperature=20.0, units=Units(voltage="mV"))
    used = PreparationSettings.of_estimator({"features": list(FULL.features), "preparation": FULL.to_dict()})
    used = used.overridden_by(own)
    assert used.columns == Columns(current="I", voltage="U")
    assert (used.temperature, used.resample, used.current_sign) == (20.0, 1.0, "discharge_positive")
    assert (used.units, used.trained_units) == (Units(voltage="mV"), Units(current="mA"))
    assert (used.features, used.derived, used.interval) == (FULL.features, FULL.derived, 1.0)
    assert used.feature_roles == FULL.feature_roles, "the network's inputs stay, whatever the files call them"


def test_an_old_checkpoint_only_knows_its_features():
    used = PreparationSettings.of_estimator({"features": ["SOC", "Current"], "network": {}})
    assert used.features == ("SOC", "Current")
    assert used.interval is None


@pytest.mark.parametrize("stored", ["text", {"units": 3}, {"units": {"current": "kA"}}, {"derived": {"X": "open(1)"}}])
def test_a_tampered_checkpoint_is_one_line(stored):
    with pytest.raises(ConfigurationError, match=r"^ckpt_path: the checkpoint's settings of the prep.* cannot"):
        PreparationSettings.of_estimator({"features": ["SOC"], "preparation": stored})


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"current_sign": "negative"}, r"data\.current_sign: 'negative' is unknown"),
        ({"checks": "no"}, r"data\.checks: 'no' is unknown; choose 'refuse', 'warn' or 'off'"),
        ({"prepare": ("resampel",)}, r"data\.prepare: 'resampel' is unknown.*nearest: 'resample'"),
        ({"resample": 0.0}, r"data\.resample: 0\.0 is not positive; set seconds"),
        ({"max_gap": -1.0}, r"data\.max_gap: -1\.0 is not positive"),
        ({"trim_rest": -1.0}, r"data\.trim_rest: -1\.0 is negative"),
        ({"cells_in_series": 0}, r"data\.cells_in_series: 0 is not positive"),
    ],
)
def test_settings_that_cannot_be_are_refused(options, message):
    with pytest.raises(ConfigurationError, match=message):
        PreparationSettings(**options)
