"""Whatever columns are called, the C code compiles, and its numbers are exact."""

import ctypes
import os
import subprocess

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tests.deploy.c_code.c_library import compile_c
from vestim_pl.deploy.c_code.c_export import export_c
from vestim_pl.deploy.c_code.names import check_prefix, comment_text, identifiers, number, string_literal
from vestim_pl.errors import ConfigurationError
from vestim_pl.estimator import VoltageEstimator

AWKWARD = [
    "Current [A]", "current (A)", "温度", "Temp °C */ int x;", 'say "??/" \\', "float", "2nd, with comma", "%d\ttab ",
    "/* open", "_started", "NaN",
]  # fmt: skip


@given(st.floats(width=32, allow_nan=False, allow_infinity=False))
def test_a_number_reads_back_exactly(value):
    text = number(value)
    assert text.endswith("f")
    assert np.float32(text[:-1]) == np.float32(value)
    assert np.signbit(np.float32(text[:-1])) == np.signbit(np.float32(value))
    assert "." in text or "e" in text  # 5f is no C constant


@given(st.lists(st.text(min_size=1), min_size=1, max_size=8))
def test_identifiers_are_different_and_valid(names):
    found = identifiers(names)
    assert len(set(found)) == len(names)
    for identifier in found:
        assert identifier.isascii()
        assert identifier.isidentifier()


@given(st.text())
def test_text_cannot_leave_a_comment_or_a_literal(text):
    comment, literal = f"/* {comment_text(text)} */", string_literal(text)
    assert comment.isascii()
    assert comment.isprintable()
    assert comment.count("*/") == comment.count("/*") == 1
    assert "??" not in comment + literal
    assert literal.isascii()
    assert literal.isprintable()


def test_awkward_columns_compile_and_are_found_in_a_csv_in_any_order_and_locale(tmp_path):
    estimator = VoltageEstimator(AWKWARD, {"name": "LSTM", "hidden_sizes": [4]})
    estimator.scaler.fit(torch.randn(50, len(AWKWARD)), 3.7 + torch.randn(50))
    export_c(estimator, tmp_path / "c", name="cell")
    folder = tmp_path / "c"
    compile_c(folder, "-std=c99", "-trigraphs", "-Wall", "-Wextra", "-Werror", "-pedantic",
              "main.c", "cell.c", "-lm", "-o", "cell")  # fmt: skip
    assert all(path.read_bytes().isascii() for path in folder.glob("*.[ch]"))
    rows = torch.randn(20, len(AWKWARD))
    order = torch.randperm(len(AWKWARD)).tolist()
    lines = [",".join('"' + AWKWARD[index].replace('"', '""') + '"' for index in order)]
    lines += [",".join(f"{row[index]:.9g}" for index in order) for row in rows.tolist()]
    for mark, end in ((b"", "\n"), (b"\xef\xbb\xbf", "\r\n")):  # as spreadsheets write it
        (folder / "recording.csv").write_bytes(mark + end.join([*lines, "", ""]).encode())
        done = subprocess.run(
            ["./cell", "recording.csv"],
            cwd=folder, capture_output=True, text=True, check=True, env=os.environ | {"LC_ALL": "de_DE.UTF-8"},
        )  # fmt: skip
        volts = np.array([float(line) for line in done.stdout.splitlines()[1:]])
        with torch.inference_mode():
            expected = estimator.eval()(rows[None])[0][0].numpy()
        np.testing.assert_allclose(volts, expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("name", ["", "2cells", "Cell", "float", "main", "math", "a-b", "x" * 40, "zelle_ä"])
def test_a_prefix_that_is_no_identifier_is_refused(name):
    with pytest.raises(ConfigurationError, match=r"^name: .* is no C identifier in lower case; use for example name="):
        check_prefix(name)


def test_numbers_of_a_table_are_the_same_bits_for_a_compiler(tmp_path):
    generator = np.random.default_rng(0)
    bits = generator.integers(0, 2**32, 20_000, dtype=np.uint32)
    values = bits.view(np.float32)
    values = np.concatenate([values[np.isfinite(values)], np.float32([0.0, -0.0, 1e-45, 3.4028235e38])])
    table = ",\n".join(number(value) for value in values)
    (tmp_path / "table.c").write_text(f"const float table[{len(values)}] = {{\n{table}\n}};\n")
    compile_c(
        tmp_path, "-std=c99", "-Wall", "-Wextra", "-Werror", "-pedantic", "-shared", "-fPIC", "table.c", "-o", "t.so"
    )
    table = (ctypes.c_uint32 * len(values)).in_dll(ctypes.CDLL(str(tmp_path / "t.so")), "table")
    assert np.array_equal(np.frombuffer(table, np.uint32), values.view(np.uint32))
