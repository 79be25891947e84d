"""``pn-gpu evaluate``."""

from __future__ import annotations

import argparse
from pathlib import Path

from pn_gpu.cli.data_options import add_data_arguments, load_data
from pn_gpu.networks.files import load

HELP = "test a saved network on data"
DESCRIPTION = """\
Print loss and accuracy of a saved network on the training and the test part of a data set.

  pn-gpu evaluate pn-digits.safetensors
  pn-gpu evaluate pn-mnist.safetensors --data mnist
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """All options of the command."""
    parser.add_argument("network", type=Path, help="a file that train or net.save wrote")
    add_data_arguments(parser)
    parser.add_argument("--backend", default="auto", help="numpy, torch, torch:cuda:0, cupy, ... (default: auto)")


def run(options: argparse.Namespace) -> None:
    """Evaluate as the options say."""
    network = load(options.network, backend=options.backend)
    dataset = load_data(options)
    print(f"network   {network!r}")
    for name, x, y in (("training", dataset.x_train, dataset.y_train), ("test", dataset.x_test, dataset.y_test)):
        result = network.evaluate(x, y)
        accuracy = f"  accuracy {100 * result['accuracy']:.2f} %" if "accuracy" in result else ""
        print(f"{name:<9} {len(x)} examples  loss {result['loss']:.4f}{accuracy}")
