"""Stand-in until the readers are merged."""

from collections.abc import Sequence
from pathlib import Path

import pandas as pd
import pyarrow.parquet as pq

from vestim_pl.data.columns import Columns
from vestim_pl.data.formats.quantities import find_columns
from vestim_pl.data.formats.raw_table import FileOptions, RawTable
from vestim_pl.data.formats.units import split_unit
from vestim_pl.errors import DataError


def read_table(
    path: Path,
    label: str = "",
    options: FileOptions = FileOptions(),
    wanted: Columns | None = None,
    extra: Sequence[str] = (),
) -> RawTable:
    try:
        if path.suffix.lower() == ".parquet":
            with pq.ParquetFile(path) as file:
                names = file.schema_arrow.names
                found = find_columns(names, {}, wanted or Columns(), label)
                take = (
                    names
                    if wanted is None
                    else [n for n in names if n in [*found.columns.values(), *(found.resolve(e) for e in extra)]]
                )
                frame = file.read(columns=take).to_pandas(ignore_metadata=True)
                return RawTable(frame, names, {n: split_unit(n)[1] for n in names if split_unit(n)[1]}, "Parquet")
        frame = pd.read_csv(path, encoding="utf-8-sig", skipinitialspace=True, low_memory=False)
    except pd.errors.EmptyDataError:
        raise DataError(
            f"{label}: is empty; remove the file, or leave the file out with data.on_bad_file=skip"
        ) from None
    except (OSError, ValueError) as error:
        raise DataError(
            f"{label}: cannot be read ({' '.join(str(error).split())}); write it again as .parquet or .csv"
        ) from error
    frame.columns = frame.columns.str.strip()
    names = list(frame.columns)
    return RawTable(frame, names, {n: split_unit(n)[1] for n in names if split_unit(n)[1]}, "CSV", [], 2)
