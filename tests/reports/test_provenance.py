import json
from types import SimpleNamespace

import pandas as pd

from vestim_pl.data import VoltageDataModule, WindowSampling
from vestim_pl.reports.provenance import write_provenance


def test_what_was_assumed_about_the_data_is_kept(tmp_path):
    for split, shift in (("train", 0.0), ("val", 0.1), ("test", 0.2)):
        (tmp_path / split).mkdir()
        frame = pd.DataFrame({"Time": range(20), "I [mA]": 500.0 + shift, "Voltage": 3.7, "Temp": 25.0, "SOC": 0.5})
        frame.to_csv(tmp_path / split / "a.csv", index=False)
    data = VoltageDataModule(tmp_path, WindowSampling(lookback=5), current_sign="discharge_positive")
    data.setup()
    write_provenance(tmp_path / "run", SimpleNamespace(is_global_zero=True), data=data.assumptions)
    written = json.loads((tmp_path / "run" / "provenance.json").read_text())["data"]
    assert any("'I [mA]' is in mA" in note for note in written["notes"])
    assert any("discharge is positive" in note for note in written["notes"])
    assert written["interval"] == 1.0
    assert written["preparation"]["current_sign"] == "discharge_positive"
