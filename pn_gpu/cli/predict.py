"""``pn-gpu predict``."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np

from pn_gpu.backends import to_numpy
from pn_gpu.data import load_inputs
from pn_gpu.files import replacing
from pn_gpu.networks.files import load

HELP = "predict labels, probabilities or values for new inputs"
DESCRIPTION = """\
Predict with a saved network, one line for every input row: a label, or the outputs of a regression.

  pn-gpu predict pn-digits.safetensors --data new.csv
  pn-gpu predict pn-digits.safetensors --data new.npz --proba --output probabilities.csv
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """All options of the command."""
    parser.add_argument("network", type=Path, help="a file that train or net.save wrote")
    parser.add_argument("--data", type=Path, required=True, help="inputs: .csv, .npy, .npz (key x) or an IDX file")
    parser.add_argument("--proba", action="store_true", help="print the outputs (probabilities) instead of labels")
    parser.add_argument("--output", type=Path, metavar="FILE", help="write a .csv file instead of printing")
    parser.add_argument("--backend", default="auto", help="numpy, torch, torch:cuda:0, cupy, ... (default: auto)")


def run(options: argparse.Namespace) -> None:
    """Predict as the options say."""
    network = load(options.network, backend=options.backend)
    x = load_inputs(options.data)
    result = to_numpy(network.predict_proba(x) if options.proba else network.predict(x))
    number_format = "%d" if np.issubdtype(result.dtype, np.integer) else "%.9g"
    if options.output is None:
        np.savetxt(sys.stdout, result, fmt=number_format, delimiter=",")
        return
    with replacing(options.output) as temporary:
        np.savetxt(temporary, result, fmt=number_format, delimiter=",")
    print(f"saved {len(result)} rows to {options.output}")
