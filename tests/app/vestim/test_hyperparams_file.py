"""Reading JSON that a person has commented."""

import pytest

from vestim_pl.app.vestim.hyperparams_file import read_hyperparams, without_comments
from vestim_pl.errors import ConfigurationError


def written(tmp_path, text: str | bytes):
    path = tmp_path / "hyperparams.json"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def test_comments_byte_order_mark_windows_lines_and_a_trailing_comma_are_fine(tmp_path):
    text = (
        '\ufeff{\r\n  // ours\r\n  "LOOKBACK": "200", // was "400"\r\n  "NOTE": "see http://a.b//c, // no comment"'
        ',\r\n  "QUOTED": "a \\" // b",\r\n  "BATCH_SIZE": 128, // the last,\r\n}\r\n'
    )
    assert read_hyperparams(written(tmp_path, text)) == {
        "LOOKBACK": "200", "NOTE": "see http://a.b//c, // no comment", "QUOTED": 'a " // b', "BATCH_SIZE": 128,
    }  # fmt: skip


def test_blanking_keeps_every_line_and_column():
    text = '{"A": 1, // x\n "B": [1, 2,],}'
    assert [len(line) for line in without_comments(text).split("\n")] == [len(line) for line in text.split("\n")]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('{"A": "1"\n "B": "2"}', "line 2, column 2"), ('{"A": NaN}', "NaN is not a number"), ("", "line 1, column 1"),
        ('{"LOOKBACK": "1", "LOOKBACK": "2"}', "LOOKBACK: is given twice, with '1' and '2'"),
        ("[1]", "does not hold an object"),
        ('{"A": {"B": 1}}', "A: is an object"), (b'{"A": "\xff"}', "UTF-8"), ("[" * 100_000, "nested too deeply"),
        ("{'A': 1}", "line 1, column 2"),
    ],
)  # fmt: skip
def test_what_is_no_such_file_is_refused_in_one_line(tmp_path, text, said):
    path = written(tmp_path, text)
    with pytest.raises(ConfigurationError) as refused:
        read_hyperparams(path)
    assert str(refused.value).startswith(f"{path}: ")
    assert said in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_file_that_is_not_there_or_a_folder_is_named(tmp_path):
    for path, said in ((tmp_path / "no.json", "does not exist"), (tmp_path, "cannot be read")):
        with pytest.raises(ConfigurationError, match=said):
            read_hyperparams(path)
