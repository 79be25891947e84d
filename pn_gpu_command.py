"""The command ``pn-gpu``, apart from the package: until that is imported, Ctrl-C ends the process without a word."""

from __future__ import annotations

import signal


def main() -> int:
    """Import the command line and run it; returns the exit code."""
    handler = signal.signal(signal.SIGINT, signal.SIG_DFL)
    from pn_gpu.cli import main as run

    signal.signal(signal.SIGINT, handler)
    return run()
