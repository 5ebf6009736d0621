"""Tables in batches: what is read is what the file has, and what is written is what was read."""

import io

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from vestim_pl.deploy.table_files import read_batches, write_batches
from vestim_pl.errors import DataError


def test_cells_of_a_csv_come_back_as_they_were(tmp_path):
    text = 'Time,Temp,Note\n0,25.10,"a ""good"", start"\n1,,\n2,2.5e1,ü\n'
    (tmp_path / "a.csv").write_text(text, encoding="utf-8")
    write_batches(tmp_path / "b.csv", "csv", read_batches(tmp_path / "a.csv"))
    assert (tmp_path / "b.csv").read_text(encoding="utf-8") == text


def test_a_byte_order_mark_and_spaces_are_no_part_of_a_name(tmp_path):
    (tmp_path / "a.csv").write_bytes(b"\xef\xbb\xbfTime , Temp\r\n0,1\r\n")
    assert next(read_batches(tmp_path / "a.csv")).to_pydict() == {"Time": ["0"], "Temp": ["1"]}


def test_types_of_a_parquet_file_are_kept(tmp_path):
    table = pa.table({"n": pa.array([1, None], pa.int16()), "day": pa.array([0, 1], pa.date32()), "t": ["a", None]})
    pq.write_table(table, tmp_path / "a.parquet")
    write_batches(tmp_path / "b.parquet", "parquet", read_batches(tmp_path / "a.parquet"))
    assert pq.read_table(tmp_path / "b.parquet").equals(table)


def test_a_parquet_file_becomes_a_csv_that_pandas_reads_back(tmp_path):
    frame = pd.DataFrame({"x": [0.1, 1e-7, -3.25], "n": [1, 2, 3], "text": ["a", "b,c", ""]})
    frame.to_parquet(tmp_path / "a.parquet")
    write_batches(tmp_path / "b.csv", "csv", read_batches(tmp_path / "a.parquet"))
    pd.testing.assert_frame_equal(pd.read_csv(tmp_path / "b.csv", keep_default_na=False), frame)


@pytest.mark.parametrize("content", [b"", b"a,b\n1,2\n1,2,3\n", b"a,a\n1,2\n", b"a,b\n\xff\xfe,1\n", b"\x00\x01\x02"])
def test_a_broken_csv_is_one_line(tmp_path, content):
    (tmp_path / "a.csv").write_bytes(content)
    with pytest.raises(DataError, match=r"^x\.csv: cannot be read") as caught:
        list(read_batches(tmp_path / "a.csv", "x.csv"))
    assert "\n" not in str(caught.value)


def test_a_truncated_parquet_file_is_one_line(tmp_path):
    buffer = io.BytesIO()
    pd.DataFrame({"a": range(1000)}).to_parquet(buffer)
    (tmp_path / "a.parquet").write_bytes(buffer.getvalue()[:-100])
    with pytest.raises(DataError, match=r"^x: cannot be read"):
        list(read_batches(tmp_path / "a.parquet", "x"))


def test_a_header_alone_is_a_table_without_rows(tmp_path):
    (tmp_path / "a.csv").write_text("Time,Temp\n")
    batches = list(read_batches(tmp_path / "a.csv"))
    assert [(batch.column_names, batch.num_rows) for batch in batches] == [(["Time", "Temp"], 0)]
