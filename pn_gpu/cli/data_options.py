"""The options that say which data: the same for every command."""

from __future__ import annotations

import argparse

import pn_gpu.data as data
from pn_gpu.data import Dataset

DATA_HELP = (
    "digits (embedded, the default), mnist (downloaded once), a folder with IDX files (MNIST and its relatives),"
    " or a .npz or .csv file"
)


def add_data_arguments(parser: argparse.ArgumentParser) -> None:
    """--data and what belongs to a table."""
    group = parser.add_argument_group("data")
    group.add_argument("--data", default="digits", metavar="NAME_OR_PATH", help=DATA_HELP)
    group.add_argument("--target", metavar="COLUMN", help="target column of a .csv file (default: the last)")
    group.add_argument("--task", choices=("classification", "regression"), help="of a table (default: by its targets)")
    group.add_argument(
        "--test-fraction", type=float, metavar="F", help="part of a table held back for testing (default: 0.2)"
    )


def load_data(options: argparse.Namespace) -> Dataset:
    """The data set that the options name."""
    given = {name: getattr(options, name) for name in ("target", "task", "test_fraction")}
    return data.load(options.data, **{name: value for name, value in given.items() if value is not None})
