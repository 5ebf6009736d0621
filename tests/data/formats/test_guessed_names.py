from tests.data.formats.written import recording
from vestim_pl.data.formats.guessed_names import guess_names


def guess(frame):
    return guess_names([[str(cell) for cell in row] for row in frame.itertuples(index=False)], frame.shape[1])


def test_the_quantities_of_a_recording_are_guessed_in_any_order():
    frame = recording().drop(columns="SOC")
    for names in (list(frame), ["Voltage", "Temp", "Time", "Current"], ["Temp", "Current", "Voltage", "Time"]):
        assert guess(frame[names]) == names


def test_numbers_of_rows_and_texts_are_left_alone():
    frame = recording().drop(columns="SOC")
    frame.insert(0, "number", range(1, len(frame) + 1))
    frame.insert(1, "state", "R")
    assert guess(frame) == ["column1", "column2", "Time", "Current", "Voltage", "Temp"]


def test_a_temperature_that_only_grows_is_no_time():
    frame = recording().drop(columns="SOC").assign(Temp=[f"{20 + row / 100:.2f}" for row in range(60)])
    assert guess(frame) == ["Time", "Current", "Voltage", "Temp"]


def test_clock_times_are_the_time():
    frame = recording(20).drop(columns="SOC").assign(Time=[f"00:00:{second:02}" for second in range(20)])
    assert guess(frame)[0] == "Time"


def test_nothing_is_guessed_from_nothing():
    assert guess_names([["a", "b"], ["c", "d"]], 2) == ["column1", "column2"]
    assert guess_names([["0", "0"], ["0", "0"]], 2) == ["column1", "column2"]


def test_what_changes_much_is_no_temperature():
    frame = recording().drop(columns="SOC")
    frame["Power"] = 30.0 + 20 * frame["Current"]
    assert guess(frame[["Time", "Power", "Voltage", "Temp"]])[1] != "Temp"
