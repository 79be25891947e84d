"""What lies in a data file: its format, and its bytes as a stream, plain, gzipped or from a pipe."""

from __future__ import annotations

import errno
import gzip
import io
import lzma
import os
import struct
import sys
import tokenize
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO, cast

FORMATS = {
    ".csv": "text",
    ".tsv": "text",
    ".txt": "text",
    ".npz": "npz",
    ".npy": "npy",
    ".parquet": "parquet",
    "": "idx",
}
"""By the end of a file's name, ``.gz`` apart; IDX files end in anything that begins with ``idx`` or ``ubyte`` too."""

WANTED = ".csv, .tsv, .txt, .npz, .npy, .parquet (each plain or .gz) or an IDX file"

# How the first bytes of a pipe, which has no name, tell its format; anything else is text.
_FIRST_BYTES = {b"PK": "npz", b"\x93NUMPY": "npy", b"PAR1": "parquet", b"\0\0": "idx"}

_GZIP = b"\x1f\x8b"

# What the libraries that read a format raise on bytes that are not of that format.
_DAMAGE = (
    ValueError,
    TypeError,
    KeyError,
    SyntaxError,
    tokenize.TokenError,
    EOFError,
    NotImplementedError,
    RuntimeError,
    OverflowError,
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
    struct.error,
)


def is_pipe(path: Path) -> bool:
    """Whether ``path`` can be read once only: a pipe, or "-" for the standard input."""
    return str(path) == "-" or path.is_fifo() or path.is_char_device()


def check_is_file(path: Path) -> None:
    """FileNotFoundError or ValueError unless there is a file or a pipe at ``path``."""
    if is_pipe(path):
        return
    if not path.exists():
        raise FileNotFoundError(f"{path}: no such file")
    if not path.is_file():
        raise ValueError(f"{path}: got a folder, want a file")


def stem(path: Path) -> str:
    """What data are called: the name of their file without its ends."""
    return "data" if is_pipe(path) else path.name.split(".")[0] or path.stem


@contextmanager
def open_content(path: Path, kind: str | None = None) -> Iterator[tuple[IO[bytes], str]]:
    """A stream that can be rewound over the content of a file, unpacked if it is gzip, and the content's format.

    Parameters
    ----------
    path : path
    kind : str, optional
        The format, where it is known already.

    Yields
    ------
    stream : binary file
    format : {"text", "npz", "npy", "parquet", "idx"}
        By the file's name; by its first bytes where a pipe has none.

    Raises
    ------
    FileNotFoundError, ValueError
        If there is no such file, or its name says no format that is read here.
    """
    check_is_file(path)
    with ExitStack() as open_files:
        stream: IO[bytes] = open_files.enter_context(_open_bytes(path))
        with damage_named(path, "gzip file"):
            if _peek(stream, 2) == _GZIP:
                stream = cast(IO[bytes], open_files.enter_context(gzip.GzipFile(fileobj=stream)))
            kind = kind or (_format_of_bytes(stream) if is_pipe(path) else _format_of_name(path))
        yield stream, kind


def _open_bytes(path: Path) -> IO[bytes]:
    if str(path) == "-":
        return io.BytesIO(sys.stdin.buffer.read())
    return io.BytesIO(path.read_bytes()) if is_pipe(path) else path.open("rb")


def _format_of_name(path: Path) -> str:
    name = path.name.lower().removesuffix(".gz")
    suffix = os.path.splitext(name)[1]
    if suffix.startswith((".idx", ".ubyte")):
        return "idx"
    if suffix not in FORMATS:
        raise ValueError(f"{path}: got a file of type {suffix}, want {WANTED}")
    return FORMATS[suffix]


def _format_of_bytes(stream: IO[bytes]) -> str:
    start = _peek(stream, 8)
    return next((kind for first, kind in _FIRST_BYTES.items() if start.startswith(first)), "text")


def _peek(stream: IO[bytes], count: int) -> bytes:
    start = stream.read(count)
    stream.seek(0)
    return start


@contextmanager
def damage_named(path: Path | str, what: str) -> Iterator[None]:
    """Turn what a library raises on damaged bytes into a ValueError that names the file."""
    try:
        yield
    except (*_DAMAGE, OSError) as error:
        failed_disk = isinstance(error, OSError) and error.errno not in (None, errno.EINVAL)  # a seek before the start
        if failed_disk or str(error).startswith(str(path)):  # or named already
            raise
        reason = " ".join(str(error).split()) or type(error).__name__
        raise ValueError(f"{path}: truncated or damaged {what}, or none at all ({reason})") from None
