"""How a text file of columns is laid out: encoding, separator, decimal sign, header."""

from __future__ import annotations

import codecs
import csv
import io
import itertools
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from pn_gpu.checks import check_choice

SEPARATORS = "\t;,|"

# Lines that are looked at to find out; the separator and the header are told by what the lines have in common.
LINES_LOOKED_AT = 100

# What people and programs write where a value is missing ("?" in the UCI repository's files), in lower case.
MISSING_WORDS = frozenset({"", "na", "n/a", "nan", "null", "none", "?", "-", "."})

_DECIMAL_COMMA = re.compile(r"\s*[+-]?\d*,\d+(?:[eE][+-]?\d+)?\s*")


@dataclass(frozen=True)
class Layout:
    """What the first lines tell about the file.

    Attributes
    ----------
    encoding, separator, decimal : str
    width : int
        The number of columns.
    names : tuple of str or None
        Of the columns, if there is a header.
    first_line : int
        Where the first line with a sample may be, counted from 1.
    notes : tuple of str
        What was found that is out of the ordinary, or might have been meant otherwise.
    """

    encoding: str
    separator: str
    decimal: str
    width: int
    names: tuple[str, ...] | None
    first_line: int
    notes: tuple[str, ...]


def read_layout(path: Path, file: IO[bytes], header: bool | None, decimal: str | None) -> Layout:
    """Find out the layout of a file, as far as ``header`` and ``decimal`` do not say it.

    Raises
    ------
    ValueError
        If the file is empty or no text.
    """
    if decimal is not None:
        check_choice("decimal", decimal, (".", ","))
    encoding, notes = _find_encoding(path, file)
    start = [line for line in itertools.islice(_lines(file, encoding), 10 * LINES_LOOKED_AT) if line.strip()]
    start = start[:LINES_LOOKED_AT]
    if not start:
        raise ValueError(f"{path}: the file is empty, want lines of numbers")
    separator = "\t" if path.name.lower().removesuffix(".gz").endswith(".tsv") else _find_separator(start)
    rows = [(line, row) for line, row in itertools.islice(read_rows(file, encoding, separator), LINES_LOOKED_AT)]
    if not rows:
        raise ValueError(f"{path}: the file is empty, want lines of numbers")
    samples = [row for _, row in rows]
    if decimal is None:
        decimal = "," if separator != "," and _has_decimal_commas(samples) else "."
        if decimal == ",":
            notes.append("numbers are read with a decimal comma (--decimal . for a point)")
    if header is None:
        header, note = _find_header(samples, decimal)
        notes += [note] if note else []
    names = tuple(cell.strip() for cell in samples[0]) if header else None
    return Layout(encoding, separator, decimal, len(samples[0]), names, rows[0][0] + 1 if header else 1, tuple(notes))


def read_rows(file: IO[bytes], encoding: str, separator: str, first_line: int = 1) -> Iterator[tuple[int, list[str]]]:
    """Line number, counted from 1, and cells of every line from ``first_line`` on; empty lines are passed over."""
    reader = csv.reader(_lines(file, encoding), delimiter=separator)
    for row in reader:
        if row and reader.line_num >= first_line and (len(row) > 1 or row[0].strip()):
            yield reader.line_num, row


def is_number(cell: str, decimal: str = ".") -> bool:
    """Whether a cell is written as a number."""
    try:
        float(cell.replace(",", ".") if decimal == "," else cell)
    except ValueError:
        return False
    return "_" not in cell  # which Python allows in a number and NumPy does not


def is_missing(cell: str) -> bool:
    """Whether a cell says that there is no value."""
    return cell.strip().lower() in MISSING_WORDS


def _lines(file: IO[bytes], encoding: str) -> Iterator[str]:
    file.seek(0)
    text = io.TextIOWrapper(file, encoding=encoding, newline="")
    try:
        for line in text:  # noqa: UP028 - "yield from" would close the file when nobody wants more lines
            yield line
    finally:
        if not file.closed:
            text.detach()


def _find_encoding(path: Path, file: IO[bytes]) -> tuple[str, list[str]]:
    file.seek(0)
    decoder = codecs.getincrementaldecoder("utf-8")()
    start, is_utf8 = b"", True
    while block := file.read(1 << 20):
        start = start or block
        try:
            decoder.decode(block)
        except UnicodeDecodeError:
            is_utf8 = False
            break
    if start.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return "utf-16", []
    if b"\0" in start:
        raise ValueError(f"{path}: not a text file, want lines of numbers")
    try:
        if is_utf8:
            decoder.decode(b"", final=True)
            return "utf-8-sig", []
    except UnicodeDecodeError:
        pass
    strange = sum(byte < 32 and byte not in b"\t\n\r\f" for byte in start[:10_000])
    if strange:
        raise ValueError(f"{path}: not a text file in UTF-8 or Latin-1")
    return "latin-1", ["the file is not in UTF-8 and is read as Latin-1"]


def _find_separator(lines: Sequence[str]) -> str:
    """The one that cuts all lines into as many columns; else the most frequent one of the first line."""
    for separator in SEPARATORS:
        try:
            widths = {len(row) for row in csv.reader(lines, delimiter=separator) if row}
        except csv.Error:
            continue
        if len(widths) == 1 and widths.pop() > 1:
            return separator
    return max(reversed(SEPARATORS), key=lines[0].count) if any(s in lines[0] for s in SEPARATORS) else ","


def _has_decimal_commas(rows: Sequence[Sequence[str]]) -> bool:
    cells = [cell for row in rows for cell in row]
    with_comma = any(_DECIMAL_COMMA.fullmatch(cell) for cell in cells)
    return with_comma and not any("." in cell and is_number(cell) for cell in cells)


def _find_header(rows: Sequence[Sequence[str]], decimal: str) -> tuple[bool, str | None]:
    """Whether the first row names the columns, and what to say about it where it could be otherwise."""
    first, rest = rows[0], rows[1:]
    if not all(is_number(cell, decimal) or is_missing(cell) for cell in first):
        return _words_are_a_header(first, rest, decimal)
    numbered = [str(index) for index in range(len(first))]
    stripped = [cell.strip() for cell in first]
    if (len(first) > 2 and stripped == numbered) or (len(first) > 1 and stripped == ["", *numbered[:-1]]):
        return True, "the first line, 0, 1, 2, ..., is taken for a header (--no-header if it is a sample)"
    return False, None


def _words_are_a_header(first: Sequence[str], rest: Sequence[Sequence[str]], decimal: str) -> tuple[bool, str | None]:
    """Words above numbers are names; other words are, unless they come again below or a fraction stands beside them."""
    numbers, words_come_again = [], False
    for index, cell in enumerate(first):
        below = [row[index].strip() for row in rest if index < len(row) and not is_missing(row[index])]
        above_numbers = bool(below) and all(is_number(value, decimal) for value in below)
        if is_number(cell, decimal):
            numbers += [cell] if above_numbers else []
        elif above_numbers and not is_missing(cell):
            return True, None
        else:
            words_come_again = words_come_again or cell.strip() in below
    if words_come_again or not all(cell.strip().isdecimal() for cell in numbers):
        return False, "the first line is taken for a sample (--header if it names the columns)"
    return True, "the first line is taken for a header (--no-header if it is a sample)" if numbers else None
