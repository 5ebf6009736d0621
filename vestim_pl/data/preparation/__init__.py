"""From a tester's rows to a network's rows: named steps on a table, and checks of what the values mean."""

from vestim_pl.data.preparation.preparing import PreparedRecording, prepare_recording
from vestim_pl.data.preparation.settings import PreparationSettings
from vestim_pl.data.preparation.state_of_charge import SocSource
from vestim_pl.data.preparation.units import Units

__all__ = ["PreparationSettings", "PreparedRecording", "SocSource", "Units", "prepare_recording"]
