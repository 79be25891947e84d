"""What a file of any known format holds: a table of columns, or arrays."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO

from pn_gpu.data.arrays import Array
from pn_gpu.data.columns import Table
from pn_gpu.data.content import open_content
from pn_gpu.data.csv_file import read_text
from pn_gpu.data.idx import read_idx_stream
from pn_gpu.data.npy_file import read_npy, read_npz


@dataclass(frozen=True)
class TableOptions:
    """How a table is to be read; see `load_table`."""

    header: bool | None = None
    decimal: str | None = None
    drop: tuple[str | int, ...] = ()


def read_container(path: Path, options: TableOptions, *key_sets: tuple[str, ...]) -> Table | dict[str, Array]:
    """The columns of a table as they stand, or the arrays of the first set of keys that a file holds in full.

    A .npy or IDX file is one array, called ``x``.

    Raises
    ------
    FileNotFoundError, ImportError, TypeError, ValueError
        As `load_table`.
    """
    with open_content(path) as (file, kind):
        if kind in ("text", "parquet"):
            table = _without_row_names(_read_table(path, file, kind, options))
            return _without(table, options.drop)
        for name in ("header", "decimal", "drop"):
            if getattr(options, name) not in (None, ()):
                raise ValueError(f"{name}: got {getattr(options, name)!r} for {path}, want it for a table only")
        if kind == "npz":
            return read_npz(path, file, *key_sets)
        if ("x",) not in key_sets:
            raise ValueError(f"{path}: got one array, want a table, or a .npz file with inputs and targets")
        return {"x": read_npy(path, file) if kind == "npy" else read_idx_stream(path, file)}


def _read_table(path: Path, file: IO[bytes], kind: str, options: TableOptions) -> Table:
    if kind == "text":
        return read_text(path, file, options.header, options.decimal)
    from pn_gpu.data.pandas_file import read_parquet

    for name in ("header", "decimal"):
        if getattr(options, name) is not None:
            raise ValueError(f"{name}: got {getattr(options, name)!r} for {path}, want it for a text file only")
    return read_parquet(path, file)


def _without_row_names(table: Table) -> Table:
    """Without the first column if its header is empty: the row names that pandas and R write there."""
    if table.names is None or table.width < 2 or table.names[0] not in ("", "Unnamed: 0", "__index_level_0__"):
        return table
    note = "the first column has no name and is left out: row names, as pandas and R write them"
    return replace(table.without([0]), notes=(*table.notes, note))


def _without(table: Table, drop: tuple[str | int, ...]) -> Table:
    if not drop:
        return table
    left_out = [table.find(column, "drop") for column in drop]
    if len(set(left_out)) == table.width:
        raise ValueError(f"drop: got all {table.width} columns of {table.path}, want at least one left")
    return table.without(left_out)
