"""A process of its own in which every reader of data meets damaged files, under a limit of memory.

`python fuzz_readers.py EXAMPLES FOLDER` ends with a traceback if a reader raises anything but what it documents, warns,
or wants more memory than the small files hold.
"""

from __future__ import annotations

import gzip
import io
import sys
import warnings
from pathlib import Path

import numpy as np
from hypothesis import strategies as st

from pn_gpu.data import load_inputs, load_table, read_idx
from support.fuzzing import damaged_bytes, limit_memory, meet
from support.idx_files import idx_bytes

DOCUMENTED = (ValueError, TypeError)


def _npz(save, **arrays) -> bytes:
    file = io.BytesIO()
    save(file, **arrays)
    return file.getvalue()


def _npy(array) -> bytes:
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


def seeds() -> dict[str, bytes]:
    """Good files by their names, small, so that most bytes matter."""
    x, y = np.arange(24.0).reshape(8, 3), np.arange(8) % 2
    numbers = b"a,b,c\n" + b"".join(b"%d,%.1f,%d\n" % (i, i / 2, i % 2) for i in range(8))
    words = "a;größe;c\n1,5;x;0\n;y;1\n2,5;;0\n3;x;1\n".encode()
    files = {
        "numbers.csv": numbers,
        "words.csv": words,
        "table.tsv.gz": gzip.compress(numbers.replace(b",", b"\t")),
        "stored.npz": _npz(np.savez, x=x, y=y),
        "packed.npz": _npz(np.savez_compressed, x=x, y=y),
        "words.npz": _npz(np.savez, x=x, y=np.array(list("abababab"))),
        "array.npy": _npy(x),
        "images-idx": idx_bytes(x.astype(np.int32)),
        "images-idx.gz": gzip.compress(idx_bytes(x.astype(np.uint8))),
    }
    try:
        import pandas
        import pyarrow  # noqa: F401
    except ImportError:
        return files
    file = io.BytesIO()
    pandas.DataFrame({"a": x[:, 0], "b": list("xyxyxyxy"), "c": y}).to_parquet(file)
    return files | {"table.parquet": file.getvalue()}


def damage(content: bytes) -> st.SearchStrategy[bytes]:
    """The content with bytes changed, put in, or cut off."""
    place = st.integers(0, len(content))
    numerals = st.tuples(
        place, st.just(1), st.sampled_from([b"9" * 30, b"-1", b"nan", b",", b";", b'"', b"\n", b"\xff\xfe"])
    )
    return damaged_bytes(content, numerals)


def read(path: Path) -> None:
    """Everything that reads such a file."""
    for reader in (load_table, load_inputs, read_idx) if path.name.startswith("images") else (load_table, load_inputs):
        try:
            reader(path)
        except DOCUMENTED as error:
            if path.name not in str(error):
                raise RuntimeError("an error that does not name the file") from error


def main(examples: int, folder: Path) -> None:
    """Damage every good file ``examples`` times."""
    warnings.simplefilter("error")
    for name, content in seeds().items():
        path = folder / name
        path.write_bytes(content)
        read(path)  # also so that what it takes to read is imported before memory gets scarce
        limit_memory()
        meet(path, damage(content), examples, read)


if __name__ == "__main__":
    main(int(sys.argv[1]), Path(sys.argv[2]))
