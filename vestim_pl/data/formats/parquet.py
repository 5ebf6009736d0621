"""Read a Parquet file; only the wanted columns are unpacked."""

from collections.abc import Sequence
from pathlib import Path

import pyarrow.parquet as pq

from vestim_pl.data.columns import Columns
from vestim_pl.data.formats.quantities import columns_to_read, number_doubled
from vestim_pl.data.formats.raw_table import FileOptions, RawTable
from vestim_pl.data.formats.units import units_of_names
from vestim_pl.errors import DataError

__all__ = ["read_parquet"]

_MOST_ROWS = 1_000_000_000


def read_parquet(
    path: Path, label: str, options: FileOptions, wanted: Columns | None = None, extra: Sequence[str] = ()
) -> RawTable:
    """Read a Parquet file; the arguments are those of `read_table`."""
    with pq.ParquetFile(path) as file:
        if file.metadata.num_rows > _MOST_ROWS:
            raise DataError(
                f"{label}: has {file.metadata.num_rows:,} rows; split it into files of at most {_MOST_ROWS:,}"
            )
        written = file.schema_arrow.names
        names = number_doubled(written)
        units = units_of_names(names)
        chosen = columns_to_read(names, units, wanted, extra)
        positions = [names.index(name) for name in chosen]
        if len(set(written)) == len(written):
            table = file.read(columns=[written[position] for position in positions])
            positions = [table.column_names.index(written[position]) for position in positions]
        else:  # pyarrow selects doubled columns by position only
            table = file.read()
        frame = table.select(positions).rename_columns(chosen).to_pandas(ignore_metadata=True, split_blocks=True)
    return RawTable(frame, names, units, "Parquet")
