"""``pn-gpu evaluate``."""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from pn_gpu.cli import console
from pn_gpu.cli.data_options import add_data_arguments, load_data
from pn_gpu.cli.report import evaluate
from pn_gpu.data.prediction import preprocessing_of
from pn_gpu.networks.files import load

HELP = "test a saved network on data"
DESCRIPTION = """\
Print loss and accuracy of a saved network, or R2 and the error in the target's units, on a data set: on all of it, and
on the parts into which `pn-gpu train` splits it. What was done to the data in training is done again.

  pn-gpu evaluate pn-digits.safetensors
  pn-gpu evaluate pn-mnist.safetensors --data mnist
  pn-gpu evaluate pn-table.safetensors --data another_table.csv
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """All options of the command."""
    parser.add_argument("network", type=Path, help="a file that train or net.save wrote")
    add_data_arguments(parser)
    parser.add_argument("--backend", default="auto", help="numpy, torch, torch:cuda:0, cupy, ... (default: auto)")


def run(options: argparse.Namespace) -> None:
    """Evaluate as the options say."""
    network = load(options.network, backend=options.backend)
    dataset = load_data(options, preprocessing_of(network))
    for text in dataset.notes:
        console.note(text)
    print(f"network   {network!r}")
    parts = {
        "training": (dataset.x_train, dataset.y_train),
        "test": (dataset.x_test, dataset.y_test),
        "all": (np.concatenate([dataset.x_train, dataset.x_test]), np.concatenate([dataset.y_train, dataset.y_test])),
    }
    for name, (x, y) in parts.items():
        print(f"{name:<9} {len(x)} examples  {evaluate(network, dataset.preprocessing.targets, x, y)}")
