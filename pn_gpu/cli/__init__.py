"""The command line ``pn-gpu``: train, evaluate, predict, memory and info."""

from pn_gpu.cli.main import main

__all__ = ["main"]
