"""``pn-gpu predict``."""

from __future__ import annotations

import argparse
import csv
import sys
from pathlib import Path
from typing import IO

import numpy as np

from pn_gpu.cli import console
from pn_gpu.cli.data_options import add_table_arguments
from pn_gpu.data.arrays import Array
from pn_gpu.data.containers import TableOptions
from pn_gpu.data.prediction import predict_prepared
from pn_gpu.data.sources import read_inputs
from pn_gpu.data.target_coding import Classes
from pn_gpu.files import check_writable, replacing
from pn_gpu.networks.files import load

HELP = "predict labels, probabilities or values for new inputs"
DESCRIPTION = """\
Predict with a saved network, one line for every input row: a label in the data's own words, or the values of a
regression in their own units. What was done to the inputs in training lies in the network's file and is done again.
Columns of a table with a header are found by their names, whatever others there are.

  pn-gpu predict pn-digits.safetensors --data new.csv
  pn-gpu predict pn-digits.safetensors --data new.npz --proba --output probabilities.csv
  zcat new.csv.gz | pn-gpu predict pn-table.safetensors --data -
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """All options of the command."""
    parser.add_argument("network", type=Path, help="a file that train or net.save wrote")
    parser.add_argument(
        "--data",
        type=Path,
        required=True,
        help="inputs: a table (.csv, .tsv, .parquet), .npy, .npz (key x) or an IDX file; plain or .gz; - for a pipe",
    )
    add_table_arguments(parser)
    parser.add_argument("--proba", action="store_true", help="print the outputs (probabilities) instead of labels")
    parser.add_argument("--output", type=Path, metavar="FILE", help="write a .csv file instead of printing")
    parser.add_argument("--backend", default="auto", help="numpy, torch, torch:cuda:0, cupy, ... (default: auto)")


def run(options: argparse.Namespace) -> None:
    """Predict as the options say."""
    if options.output is not None:
        check_writable(options.output)
    network = load(options.network, backend=options.backend)
    table_options = TableOptions(options.header, options.decimal, tuple(options.drop or ()))
    x, notes = read_inputs(options.data, table_options, network.preprocessing)
    for text in notes:
        console.note(text)
    targets = None if network.preprocessing is None else network.preprocessing.targets
    if options.proba and isinstance(targets, Classes):
        console.note(f"columns: {', '.join(map(str, targets.labels))}")
    result = predict_prepared(network, x, options.proba)
    if options.output is None:
        _write(sys.stdout, result)
        return
    with replacing(options.output) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        _write(file, result)
    console.say(f"saved {len(result)} rows to {options.output}")


def _write(file: IO[str], result: Array) -> None:
    """A line for every row."""
    if np.issubdtype(result.dtype, np.number):
        np.savetxt(file, result, fmt="%d" if np.issubdtype(result.dtype, np.integer) else "%.9g", delimiter=",")
        return
    csv.writer(file, lineterminator="\n").writerows([word] for word in result)
