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

SYNONYMS: dict[str, tuple[tuple[str, ...], ...]] = {
    "time": (
        ("Total Time", "Cumulative Time", "总时间"),  # Neware and PEC: beside them, "Time" is the time in the step
        ("Time", "t"),  # the default; PyProBE, PyBaMM, Basytec, BioLogic, NASA
        ("Test Time", "Prog Time", "Program Time", "Run Time", "Elapsed Time", "Time Elapsed"),  # BDF, Arbin, Digatron
        ("Test", "Test Sec", "Zeit", "Programmdauer", "Prüfzeit", "temps", "时间"),  # Maccor "Test (Sec)"; languages
        ("Timestamp", "Time Stamp", "Unix Time", "Epoch Time", "Time s"),  # VEstim
        ("Date Time", "Date and Time", "Date", "DPT Time", "Absolute Time", "Sys Time", "Zeitstempel", "Real Time"),
    ),
    "current": (
        ("Current", "I", "i", "<I>", "Amps", "mAmps", "Cell Current", "Battery Current"),
        (
            "Current measured",
            "Current load",
            "Amp",
            "Ampere",
            "Pack Current",
            "Current avg",
            "I avg",
            "Strom",
            "courant",
            "电流",
        ),
    ),
    "voltage": (
        ("Voltage", "U", "u", "V", "v", "Volts", "mVolts", "Terminal Voltage", "Cell Voltage", "Battery Voltage"),
        (
            "Voltage measured",
            "Ecell",
            "Volt",
            "U cell",
            "V cell",
            "Pack Voltage",
            "Voltage load",
            "Spannung",
            "tension",
        ),
        ("Potential", "Ewe", "<Ewe>", "Ewe-Ece", "电压"),  # Novonix, BioLogic
    ),
    "temperature": (
        ("Temp", "Temperature", "T", "Surface Temperature", "Battery Temperature", "Battery Temp", "Cell Temperature"),
        ("Temperature measured", "Cell Temp", "Surface Temp", "Temperatur", "température", "温度"),
        ("X-averaged cell temperature", "Volume-averaged cell temperature", "Ambient-corrected temperature"),  # PyBaMM
        (
            "T#",
            "Temp #",
            "Temperature #",
            "Temperature T#",
            "Aux Temperature #",
            "Aux # Temperature",
            "Aux Temperature",
        ),
        ("EV Temp", "LogTemp #", "Circuit Temperature", "Surface Temperature T#", "TC #", "Temperature K#"),
    ),
    "soc": (("SOC", "State of Charge", "Battery SOC", "Cell SOC", "SOC est", "Ladezustand", "荷电状态"),),
    "ah": (
        ("Net Capacity", "Ah", "Ah Accu", "AhAccu", "Q-Qo", "Ah Counter", "Accumulated Ah"),
        ("Capacity",),  # net in Digatron and PyProBE, of one step in Neware
    ),
    "charge_ah": (
        (
            "Charge Capacity",
            "Charging Capacity",
            "Cumulative Charge Capacity",
            "Q charge",
            "Chg Cap",
            "Capacity Charge",
        ),
    ),
    "discharge_ah": (
        ("Discharge Capacity", "Discharging Capacity", "Cumulative Discharge Capacity", "Q discharge", "DChg Cap"),
    ),
    "state": (("Command", "Step Type", "Status", "MD"), ("State", "Mode", "Step State")),
}
