"""Tables that pandas reads: text files with words and gaps, and Parquet."""

from __future__ import annotations

from pathlib import Path
from typing import IO, Any

import numpy as np

from pn_gpu.data.arrays import Array
from pn_gpu.data.columns import Table
from pn_gpu.data.content import damage_named
from pn_gpu.data.text_layout import MISSING_WORDS, Layout, is_missing
from pn_gpu.data.text_table import first_word, make_table


def _pandas(why: str) -> Any:
    try:
        import pandas
    except ImportError:
        raise ImportError(f"{why}; want numbers alone, or pandas for the rest: pip install 'pn-gpu[tables]'") from None
    return pandas


def read_words(path: Path, file: IO[bytes], layout: Layout) -> Table:
    """All columns of a text file of that layout.

    Raises
    ------
    ImportError
        If pandas is missing.
    ValueError
        If pandas cannot read it.
    """
    why = f"{path}: a decimal comma" if layout.decimal == "," else f"{path}: {first_word(path, file, layout)}"
    pandas = _pandas(why)
    file.seek(0)
    with damage_named(path, "text file"):
        frame = pandas.read_csv(
            file,
            sep=layout.separator,
            decimal=layout.decimal,
            encoding=layout.encoding,
            header=None if layout.names is None else 0,
            names=range(layout.width),
            index_col=False,
            na_values=sorted(MISSING_WORDS | {word.upper() for word in MISSING_WORDS}),
            skipinitialspace=True,
            low_memory=False,
        )
    return make_table(path, layout, tuple(_as_column(frame[index]) for index in range(layout.width)))


def read_parquet(path: Path, file: IO[bytes]) -> Table:
    """All columns of a Parquet file (pandas with pyarrow).

    Raises
    ------
    ImportError
        If pandas or pyarrow is missing.
    ValueError
        If the file is damaged or empty.
    """
    pandas = _pandas(f"{path}: a Parquet file")
    try:
        import pyarrow
    except ImportError:
        raise ImportError(f"{path}: Parquet files need pyarrow; want: pip install pyarrow") from None
    try:
        with damage_named(path, "Parquet file"):
            frame = pandas.read_parquet(file, engine="pyarrow")
    except (pyarrow.ArrowException, OSError) as error:
        reason = " ".join(str(error).split())
        raise ValueError(f"{path}: truncated or damaged Parquet file, or none at all ({reason})") from None
    names = tuple(str(name) for name in frame.columns)
    table = Table(path, names, tuple(_as_column(frame.iloc[:, index]) for index in range(len(names))))
    if not names or not len(table):
        raise ValueError(f"{path}: got {len(frame)} rows of {len(names)} columns, want at least one of each")
    return table


def _as_column(series: Any) -> Array:
    """A pandas column as float64 with NaN, or as an object array of str and None; dates become words."""
    if series.dtype.kind in "iuf":
        numbers: Array = series.to_numpy(dtype=np.float64, na_value=np.nan)
        return numbers
    if series.isna().all():
        return np.full(len(series), np.nan)
    gaps = series.isna().to_numpy()
    words = np.array([str(value).strip() for value in series], dtype=object)
    words[gaps | np.array([is_missing(word) for word in words], dtype=bool)] = None
    return words
