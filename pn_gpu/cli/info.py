"""``pn-gpu info``."""

from __future__ import annotations

import argparse
import platform

import pn_gpu
from pn_gpu.backends import cuda_driver_found, describe_backends, get_backend
from pn_gpu.kernels import potentials
from pn_gpu.kernels.host.threads import num_threads

HELP = "versions, backends found, and why one is missing"
DESCRIPTION = "Print versions, the backends that were found with their devices, and why one is missing."


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """No options."""


def run(options: argparse.Namespace) -> None:
    """Print the report."""
    print(f"pn_gpu            {pn_gpu.__version__}")
    print(f"python            {platform.python_version()} on {platform.system()} {platform.machine()}")
    for library, state in describe_backends().items():
        print(f"{library:<17} {state}")
    print(f"CUDA driver       {'found' if cuda_driver_found() else 'not found'}")
    print(f"CPU threads       {num_threads()} (PN_GPU_NUM_THREADS sets them)")
    print(f"backend auto      {get_backend('auto').name}")
    print(f"potentials        {', '.join(potentials.names())}")
