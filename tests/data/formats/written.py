"""One recording written in every format and in the ways of every tester; all of them say the same."""

import gzip
import io
from collections.abc import Callable

import numpy as np
import pandas as pd

QUANTITIES = ("time", "current", "voltage", "temperature", "soc")
Writer = Callable[[pd.DataFrame], bytes]


def recording(rows: int = 60, seed: int = 0) -> pd.DataFrame:
    """A made-up recording; its numbers are short, so that every format holds them exactly."""
    random = np.random.default_rng(seed)
    current = np.round(random.normal(size=rows), 3)
    return pd.DataFrame(
        {
            "Time": np.round(np.arange(rows) * 0.5 + 86_390.0, 1),  # passes midnight
            "Current": current,
            "Voltage": np.round(3.7 + 0.05 * current, 4),
            "Temp": np.round(25 + random.normal(size=rows), 2),
            "SOC": np.round(0.9 + np.cumsum(current) / 10_000, 5),
        }
    )


def text(frame: pd.DataFrame, names: list[str] | None = None, encoding: str = "utf-8", **options) -> bytes:
    return frame.set_axis(names or list(frame), axis="columns").to_csv(index=False, **options).encode(encoding)


def _clock(frame: pd.DataFrame, form: str) -> pd.DataFrame:
    def written(time: float) -> str:
        tenths = round(time * 10)
        seconds = tenths // 10
        return form.format(
            days=seconds // 86_400,
            of_day=seconds // 3600 % 24,
            hours=seconds // 3600,
            minutes=seconds // 60 % 60,
            seconds=seconds % 60,
            tenths=tenths % 10,
        )

    return frame.assign(Time=[written(time) for time in frame["Time"]])


def _dates(frame: pd.DataFrame, form: str) -> pd.DataFrame:
    dates = pd.Timestamp("2031-04-12") + pd.to_timedelta(frame["Time"], unit="s")
    return frame.assign(Time=dates.dt.strftime(form))


DIGATRON = b"\r\n\r\nMeasurement ID,901\r\nStart Time,10/28/2031 8:01:00 AM\r\nNominal Voltage, 3.7\r\n\0\r\n"
BIOLOGIC = (
    b"BT-Lab ASCII FILE\nNb header lines : 6\n\nEcell ctrl range : min = 0.00 V, max = 9.00 V\nComments : 1, 2; 3\n\n"
)
NOVONIX = b'[Summary]\nMass (g): 1.000\n[Protocol]\n{"Version":"2.1","Steps":[1,2,3,4,5,6]}\n\n[Data]\n'

TEXTS: dict[str, tuple[str, Writer]] = {
    "comma": ("r.csv", text),
    "semicolon": ("r.csv", lambda f: text(f, sep=";")),
    "tab": ("r.tsv", lambda f: text(f, sep="\t")),
    "tab, trailing tabs": ("r.txt", lambda f: text(f, sep="\t").replace(b"\n", b"\t\n")),
    "pipe": ("r.dat", lambda f: text(f, sep="|")),
    "spaces": ("r.dat", lambda f: text(f, sep=" ").replace(b" ", b"   ")),
    "spaces, names with spaces": (
        "r.dat",
        lambda f: (
            f.to_string(index=False, header=False)
            .join(["Test Time  Current A  Voltage V  Temp 1  SOC\n", "\n"])
            .encode()
        ),
    ),
    "decimal comma": ("r.csv", lambda f: text(f, sep=";", decimal=",")),
    "decimal comma, tabs": ("r.mpt", lambda f: text(f, sep="\t", decimal=",")),
    "decimal comma, spaces": ("r.dat", lambda f: text(f, sep=" ", decimal=",")),
    "decimal comma in quotes": ("r.csv", lambda f: text(f, decimal=",", quoting=1)),
    "all in quotes": ("r.csv", lambda f: text(f, quoting=1)),
    "space after comma": ("r.csv", lambda f: text(f).replace(b",", b" , ")),
    "utf-8 with its mark": ("r.csv", lambda f: text(f, encoding="utf-8-sig")),
    "utf-16": ("r.csv", lambda f: text(f, encoding="utf-16")),
    "utf-16 without its mark": ("r.txt", lambda f: text(f, sep="\t", encoding="utf-16-le")),
    "cp1252": ("r.csv", lambda f: text(f, ["Zeit", "Strom", "Spannung", "Temperatur [°C]", "SOC"], "cp1252", sep=";")),
    "CR LF": ("r.csv", lambda f: text(f, lineterminator="\r\n")),
    "CR": ("r.csv", lambda f: text(f, lineterminator="\r")),
    "gzip": ("r.csv.gz", lambda f: gzip.compress(text(f))),
    "gzip of a preamble": ("r.txt.gz", lambda f: gzip.compress(DIGATRON + text(f, sep="\t"))),
    "numbered by Maccor": ("r.001", lambda f: text(f, sep="\t")),
    "a suffix of another format": ("r.xlsx", text),
    "preamble": ("r.csv", lambda f: DIGATRON + text(f)),
    "preamble of other separators": ("r.txt", lambda f: BIOLOGIC + text(f, sep="\t")),
    "preamble of json": ("r.csv", lambda f: NOVONIX + text(f)),
    "preamble of 900 lines": ("r.csv", lambda f: b"Setting, 1\n" * 900 + text(f)),
    "row of units": ("r.csv", lambda f: text(f).replace(b"\n", b"\n[s],[A],[V],[C],\n", 1)),
    "row of units, no brackets": ("r.csv", lambda f: DIGATRON + text(f).replace(b"\n", b"\ns,A,V,degC,1\n", 1)),
    "rule of dashes": ("r.csv", lambda f: text(f).replace(b"\n", b"\n-----,-----,-----,-----,-----\n", 1)),
    "trailing comma in rows": ("r.csv", lambda f: text(f).replace(b"\n", b",\n").replace(b"SOC,\n", b"SOC\n", 1)),
    "trailing commas": ("r.csv", lambda f: text(f).replace(b"\n", b",,\n")),
    "trailing comma in header": ("r.csv", lambda f: text(f).replace(b"SOC\n", b"SOC,\n", 1)),
    "blank lines": ("r.csv", lambda f: text(f).replace(b"\n", b"\n\n")),
    "comment mark": ("r.txt", lambda f: b"~Result file\n~Name: 1\n~" + text(f, sep="\t")),
    "number sign": ("r.txt", lambda f: b"# " + text(f, sep=" ")),
    "numbered rows": ("r.csv", lambda f: f.to_csv().encode()),
    "scientific": ("r.csv", lambda f: text(f, float_format="%.7E")),
    "BDF labels": (
        "r.bdf.csv",
        lambda f: text(f, ["Test Time / s", "Current / A", "Voltage / V", "Surface Temperature / degC", "SOC / 1"]),
    ),
    "BDF machine names": (
        "r.csv",
        lambda f: text(f, ["test_time_second", "current_ampere", "voltage_volt", "temperature_celsius", "soc"]),
    ),
    "Arbin": ("r.csv", lambda f: text(f, ["Test_Time(s)", "Current(A)", "Voltage(V)", "Aux_Temperature_1(C)", "SOC"])),
    "BioLogic": ("r.mpt", lambda f: text(f, ["time/s", "<I>/A", "Ecell/V", "Temperature/°C", "SOC"], sep="\t")),
    "Basytec": ("r.txt", lambda f: text(f, ["~Time[s]", "I[A]", "U[V]", "T1[°C]", "SOC"], "cp1252", sep="\t")),
    "Maccor": ("r.txt", lambda f: text(f, ["Test (Sec)", "Amps", "Volts", "Temp 1", "SOC"], sep="\t")),
    "PyBaMM": ("r.csv", lambda f: text(f, ["Time [s]", "Current [A]", "Voltage [V]", "Cell temperature [C]", "SOC"])),
    "Landt": ("r.csv", lambda f: text(f, ["TestTime/Sec.", "Current/A", "Voltage/V", "Temperature/C", "SOC"])),
    "clock beyond a day": ("r.csv", lambda f: text(_clock(f, "{hours:02}:{minutes:02}:{seconds:02}.{tenths}00"))),
    "clock, decimal comma": (
        "r.csv",
        lambda f: text(_clock(f, "{hours}:{minutes:02}:{seconds:02},{tenths}"), sep=";", decimal=","),
    ),
    "days and clock": (
        "r.txt",
        lambda f: text(_clock(f, "  {days}d {of_day:02}:{minutes:02}:{seconds:02}.{tenths}0"), sep="\t"),
    ),
    "days before the clock": (
        "r.csv",
        lambda f: text(_clock(f, "{days}.{of_day:02}:{minutes:02}:{seconds:02}.{tenths}")),
    ),
    "ISO dates": ("r.csv", lambda f: text(_dates(f, "%Y-%m-%d %H:%M:%S.%f"))),
    "German dates": ("r.csv", lambda f: text(_dates(f, "%d.%m.%Y %H:%M:%S,%f"), sep=";", decimal=",")),
    "American dates": ("r.csv", lambda f: text(_dates(f, "%m/%d/%Y %I:%M:%S.%f %p"))),
    "dates with names": ("r.csv", lambda f: text(_dates(f, "%d-%b-%Y %H:%M:%S.%f"))),
    "Excel's line of the separator": ("r.csv", lambda f: b"sep=;\r\n" + text(f, sep=";", decimal=",")),
    "EC-Lab": (
        "r.mpt",
        lambda f: (
            b"EC-Lab ASCII FILE\nNb header lines : 5\n\nRun on channel : 3\n"
            + text(f, ["time/s", "I/A", "Ecell/V", "Temperature/\u00b0C", "SOC"], "cp1252", sep="\t", decimal=",")
        ),
    ),
    "tabs in the cells": ("r.csv", lambda f: text(f).replace(b",", b",\t")),
    "records in steps in cycles": ("r.csv", lambda f: _nested(f)),
}


def _nested(frame: pd.DataFrame) -> bytes:
    """The export of Neware that has the lines of a cycle, its steps and their records one below the other."""
    lines = ["Cycle Index,Chg. Cap.(Ah)", ",Step Index,Step Type", ",,Time,Current(A),Voltage(V),T1(℃),SOC"]
    for number, row in enumerate(frame.itertuples(index=False)):
        lines += [f"{number // 30 + 1},0.5"] if number % 30 == 0 else []
        lines += [f",{number // 10 + 1},CC DChg"] if number % 10 == 0 else []
        lines.append(",," + ",".join(map(str, row)))
    return "\n".join(lines).encode()


def _buffer(write: Callable[[io.BytesIO], object]) -> bytes:
    content = io.BytesIO()
    write(content)
    return content.getvalue()


def _workbook(frame: pd.DataFrame, **sheets: pd.DataFrame) -> bytes:
    content = io.BytesIO()
    with pd.ExcelWriter(content, engine="openpyxl") as book:
        for name, sheet in {**sheets, "Channel_1": frame}.items():
            sheet.to_excel(book, sheet_name=name, index=False, startrow=0 if sheet is not frame or not sheets else 4)
    return content.getvalue()


def _matlab(content: dict, **options) -> bytes:
    from scipy.io import savemat

    return _buffer(lambda file: savemat(file, content, **options))


def _columns(frame: pd.DataFrame) -> dict[str, np.ndarray]:
    return {name: values.to_numpy()[:, None] for name, values in frame.items()}


def _hdf5(frame: pd.DataFrame) -> bytes:
    import h5py

    def write(content: io.BytesIO) -> None:
        with h5py.File(content, "w", userblock_size=512) as file:
            for name, values in frame.items():
                data = file.create_dataset(f"meas/{name}", data=values.to_numpy()[None, :])
                data.attrs["MATLAB_class"] = np.bytes_("double")

    return b"MATLAB 7.3 MAT-file, Platform: made up".ljust(124) + b"\0\2IM" + _buffer(write)[128:]


def _simulink(frame: pd.DataFrame) -> bytes:
    signals = np.array(
        [(values.to_numpy()[:, None], 1.0, name) for name, values in frame.drop(columns="Time").items()],
        dtype=[("values", object), ("dimensions", object), ("label", object)],
    )
    return _matlab(
        {"logged": {"time": frame["Time"].to_numpy()[:, None], "signals": signals, "blockName": "cell"}, "Ts": 0.5}
    )


def _to_workspace(frame: pd.DataFrame) -> bytes:
    """A block "To Workspace" for each signal, in the format structure with time."""
    time = frame["Time"].to_numpy()[:, None]
    content = {
        name: {"time": time, "signals": {"values": values.to_numpy()[:, None], "dimensions": 1.0, "label": ""}}
        for name, values in frame.drop(columns="Time").items()
    }
    return _matlab(content)


def _duration(frame: pd.DataFrame, unit: str) -> bytes:
    time = (frame["Time"] * 1000).round().astype("int64").astype("timedelta64[ms]").astype(f"timedelta64[{unit}]")
    return _buffer(lambda file: frame.assign(Time=time).to_parquet(file))


BINARIES: dict[str, tuple[str, Writer]] = {
    "parquet": ("r.parquet", lambda f: _buffer(f.to_parquet)),
    "parquet called csv": ("r.csv", lambda f: _buffer(f.to_parquet)),
    "parquet, single precision": (
        "r.parquet",
        lambda f: _buffer(f.astype({"Current": "float32", "Temp": "float32"}).to_parquet),
    ),
    "parquet, durations in ms": ("r.parquet", lambda f: _duration(f, "ms")),
    "parquet, durations in us": ("r.parquet", lambda f: _duration(f, "us")),
    "parquet, durations in ns": ("r.parquet", lambda f: _duration(f, "ns")),
    "parquet, dates": (
        "r.parquet",
        lambda f: _buffer(f.assign(Time=pd.Timestamp("2031-04-12") + pd.to_timedelta(f["Time"], unit="s")).to_parquet),
    ),
    "workbook": ("r.xlsx", _workbook),
    "workbook called csv": ("r.csv", _workbook),
    "workbook of several sheets": (
        "r.xlsx",
        lambda f: _workbook(f, Info=pd.DataFrame({"Schedule": ["a"], "Cell": [1]}), Statistics=f.iloc[::20]),
    ),
    "workbook with dates": (
        "r.xlsx",
        lambda f: _workbook(f.assign(Time=pd.Timestamp("2031-04-12") + pd.to_timedelta(f["Time"], unit="s"))),
    ),
    "MATLAB 4": ("r.mat", lambda f: _matlab(_columns(f), format="4")),
    "MATLAB 5, vectors": ("r.mat", lambda f: _matlab({**_columns(f), "Ts": 0.5, "name": "cell"})),
    "MATLAB 5, rows": ("r.mat", lambda f: _matlab({name: values.T for name, values in _columns(f).items()})),
    "MATLAB 5, struct": ("r.mat", lambda f: _matlab({"meas": _columns(f)})),
    "MATLAB 7, packed": ("r.mat", lambda f: _matlab({"meas": _columns(f)}, do_compression=True)),
    "MATLAB 7.3": ("r.mat", _hdf5),
    "Simulink structure with time": ("r.mat", _simulink),
    "Simulink, a structure a signal": ("r.mat", _to_workspace),
}
