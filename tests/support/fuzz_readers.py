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
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pn_gpu.data import load_inputs, load_table, read_idx
from support.idx_files import idx_bytes

MORE_MEMORY = 2**28

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
    edit = st.tuples(place, st.sampled_from([0, 1, 4]), st.binary(max_size=4))
    numerals = st.tuples(
        place, st.just(1), st.sampled_from([b"9" * 30, b"-1", b"nan", b",", b";", b'"', b"\n", b"\xff\xfe"])
    )
    return st.tuples(st.lists(edit | numerals, max_size=4), place).map(lambda drawn: _apply(content, *drawn))


def _apply(content: bytes, edits: list[tuple[int, int, bytes]], end: int) -> bytes:
    for start, length, new in edits:
        content = content[:start] + new + content[start + length :]
    return content[: end or None]


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
        _limit_memory()
        _meet(path, damage(content), examples)


def _meet(path: Path, damaged: st.SearchStrategy[bytes], examples: int) -> None:
    @settings(
        max_examples=examples,
        deadline=None,
        derandomize=True,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(damaged)
    def meet(content: bytes) -> None:
        path.write_bytes(content)
        read(path)

    meet()


def _limit_memory() -> None:
    try:
        import resource
    except ImportError:  # Windows
        return
    pages = Path("/proc/self/statm")
    if pages.exists():
        now = int(pages.read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (now + MORE_MEMORY, resource.RLIM_INFINITY))


if __name__ == "__main__":
    main(int(sys.argv[1]), Path(sys.argv[2]))
