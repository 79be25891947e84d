"""The options that say which data and how they are read: the same for every command."""

from __future__ import annotations

import argparse
from typing import Any

import pn_gpu.data as data
from pn_gpu.data import Dataset, Preprocessing
from pn_gpu.data.input_coding import MISSING
from pn_gpu.data.input_fitting import SCALES
from pn_gpu.data.target_coding import TASKS

DATA_HELP = (
    "digits (embedded, the default), mnist (downloaded once), a folder with IDX files (MNIST and its relatives),"
    " a table (.csv, .tsv, .parquet), or a .npz file; plain or .gz"
)

LOAD_OPTIONS = ("target", "task", "test_fraction", "header", "decimal", "drop", "scale", "missing")


def add_data_arguments(parser: argparse.ArgumentParser) -> None:
    """--data and what belongs to a table."""
    group = parser.add_argument_group("data")
    group.add_argument("--data", default="digits", metavar="NAME_OR_PATH", help=DATA_HELP)
    group.add_argument(
        "--target", metavar="COLUMN", help="target column of a table, by name or number from 0 (default: the last)"
    )
    group.add_argument(
        "--test-fraction", type=float, metavar="F", help="part of a table held back for testing (default: 0.2)"
    )
    add_table_arguments(group)


def add_preprocessing_arguments(parser: argparse.ArgumentParser) -> None:
    """What is done to the data in training, and kept with the network."""
    group = parser.add_argument_group("preprocessing, kept in the network's file")
    group.add_argument(
        "--task",
        choices=TASKS,
        help="of a table: whether targets are classes or numbers (default: words and few different whole numbers are"
        " classes; the choice is printed)",
    )
    group.add_argument(
        "--scale",
        choices=SCALES,
        help="auto: bytes are pixels, divided by 255; other inputs, and targets that are numbers, get the mean 0 and"
        " the deviation 1, as with standard; none: all stay as they are (default: auto)",
    )
    group.add_argument(
        "--missing",
        choices=MISSING,
        help="missing inputs (empty, NA, NaN, null, ?): replaced by the mean of their column, their rows dropped, or"
        " refused (default: mean)",
    )


def add_table_arguments(group: argparse._ActionsContainer) -> None:
    """How a table is read."""
    group.add_argument(
        "--header",
        action=argparse.BooleanOptionalAction,
        help="whether the first line of a text file names the columns (default: found out)",
    )
    group.add_argument("--decimal", choices=(".", ","), help="of the numbers in a text file (default: found out)")
    group.add_argument(
        "--drop",
        nargs="+",
        action="extend",
        metavar="COLUMN",
        help="columns of a table to leave out, by name or number",
    )


def load_data(options: argparse.Namespace, preprocessing: Preprocessing | None = None) -> Dataset:
    """The data set that the options name, prepared as for a trained network if its preprocessing is given."""
    given: dict[str, Any] = {name: getattr(options, name, None) for name in LOAD_OPTIONS}
    given["preprocessing"] = preprocessing
    return data.load(options.data, **{name: value for name, value in given.items() if value is not None})
