"""Names that testers and data sets give to the columns, by quantity.

To add a name, put it into the row of its quantity. Case, spaces, punctuation and units do not count: ``Test Time``
stands for ``Test_Time(s)``, ``test_time_second`` and ``TestTime`` too. ``#`` stands for a number. A name of one letter
is compared with its case, because ``t`` is a time and ``T`` a temperature.

The names of an earlier line are preferred to those of a later one. If a file has two names of one line, the user has to
choose: they are different measurements, such as ``Current_load`` and ``Current_measured``.

Sources: the Battery Data Format (battery-data-alliance/battery-data-format), both its labels and its machine-readable
names; exports of Arbin, Basytec, BioLogic EC-Lab and BT-Lab, Bitrode, Digatron, Landt, Maccor, Neware, Novonix and PEC;
VEstim; PyBaMM; PyProBE; cellpy; fastnda; Battery Archive; NASA PCoE; Oxford; Kollmeyer's Panasonic and LG data.
"""

__all__ = ["SYNONYMS"]

SYNONYMS: dict[str, tuple[str, ...]] = {
    "time": (
        "Total Time, Cumulative Time, 总时间, 累计时间",  # Neware and PEC: beside them, "Time" is the time in the step
        "Time, t",  # the default; PyProBE, PyBaMM, Basytec, BioLogic, NASA
        "Test Time, Prog Time, Program Time, Program Duration, Run Time, Elapsed Time, Time Elapsed",  # BDF, Arbin
        "Test, Test Sec, Zeit, Programmdauer, Prüfzeit, 测试时间",  # Maccor "Test (Sec)"; Landt, Neware
        "temps, tiempo, tempo, tijd, 时间, 時間, 시간",
        "Timestamp, Time Stamp, Unix Time, Epoch Time",  # VEstim
        "Date Time, Date and Time, Date, DPT Time, Absolute Time, Sys Time, Real Time, Zeitstempel",
    ),
    "current": (
        "Current, I, i, <I>, A, mA, Amps, mAmps, Cell Current, Battery Current",
        "Current measured, Current load, Amp, Ampere, Cur, Curr, Pack Current, Current avg, I avg, I cell, I batt",
        "Strom, courant, corriente, corrente, stroom, 电流, 電流, 전류",
    ),
    "voltage": (
        "Voltage, U, u, V, v, mV, Volts, mVolts, Terminal Voltage, Cell Voltage, Battery Voltage",
        "Voltage measured, Voltage load, Ecell, Volt, Vol, Pack Voltage, U cell, V cell, U batt, V batt",
        "Potential, Ewe, <Ewe>, Ewe-Ece",  # Novonix, BioLogic
        "Spannung, tension, tensión, voltaje, tensione, tensão, spanning, 电压, 電圧, 電壓, 전압",
    ),
    "temperature": (
        "Temp, Temperature, T, Surface Temperature, Battery Temperature, Battery Temp, Cell Temperature",
        "Temperature measured, Cell Temp, Surface Temp, Temp cell, T cell, T batt, Thermocouple",
        "X-averaged cell temperature, Volume-averaged cell temperature",  # PyBaMM
        "T#, Temp #, Temperature #, Temperature T#, Surface Temperature T#, TC #, Thermocouple #",
        "Aux Temperature, Aux Temperature #, Aux # Temperature, EV Temp, LogTemp #",  # Arbin, fastnda, Maccor
        "Circuit Temperature",  # Novonix
        "Temperatur, température, temperatura, temperatuur, 温度, 溫度, 온도",
    ),
    "soc": ("SOC, State of Charge, Battery SOC, Cell SOC, SOC est, Ladezustand, 荷电状态",),
    "ah": (
        "Net Capacity, Ah, Ah Accu, Q-Qo, Ah Counter, Accumulated Ah",
        "Capacity",  # net in Digatron and PyProBE, of one step in Neware
    ),
    "charge_ah": ("Charge Capacity, Charging Capacity, Cumulative Charge Capacity, Q charge, Chg Cap",),
    "discharge_ah": ("Discharge Capacity, Discharging Capacity, Cumulative Discharge Capacity, Q discharge, DChg Cap",),
    "state": ("Command, Step Type, Status, MD", "State, Mode, Step State"),
}
