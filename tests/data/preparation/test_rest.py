from vestim_pl.data.preparation.rest import trim_leading_rest


def test_the_rest_before_the_first_load_is_trimmed_in_each_piece(table):
    current = [0.0, 0.0, 0.0, -1.0, 0.0, 0.0, 0.0, -1.0]
    trimmed, notes = trim_leading_rest(table(starts=(0, 4), current=current), 1.0)
    assert trimmed["time"].tolist() == [2.0, 3.0, 6.0, 7.0]
    assert trimmed.starts == (0, 2)
    assert notes[0].rows == 4


def test_noise_is_no_load(table):
    trimmed, _ = trim_leading_rest(table(current=[0.003, -0.002, -1.0, 0.0]), 0.0)
    assert trimmed["time"].tolist() == [2.0, 3.0]


def test_nothing_is_trimmed_by_default_or_where_no_load_comes(table):
    for same, kept in ((table(current=[0.0, -1.0]), None), (table(current=[0.0, 0.0]), 0.0)):
        assert trim_leading_rest(same, kept) == (same, [])
