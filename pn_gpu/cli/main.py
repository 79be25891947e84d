"""Entry point: subcommands, and errors as one line with an exit code."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

import pn_gpu
from pn_gpu.cli import evaluate, info, memory, predict, train
from pn_gpu.training.loop import TrainingDiverged

DESCRIPTION = """\
Particle Networks: layers whose weights are computed from particles and never stored.

  pn-gpu train                                   train on the embedded handwritten digits
  pn-gpu train --data mnist --hidden 128 --dim 3 train on MNIST
  pn-gpu evaluate pn-digits.safetensors          test a saved network
  pn-gpu memory --sizes 784,512,10               what a network takes, beside the dense one
  pn-gpu info                                    which backends are found, and why one is missing

`pn-gpu COMMAND --help` explains a command.
"""

EXIT_BAD_INPUT, EXIT_DIVERGED, EXIT_INTERRUPTED = 2, 1, 130


def make_parser() -> argparse.ArgumentParser:
    """The parser with all subcommands."""
    parser = argparse.ArgumentParser(
        prog="pn-gpu", description=DESCRIPTION, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--version", action="version", version=f"pn-gpu {pn_gpu.__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for module in (train, evaluate, predict, memory, info):
        name = module.__name__.rpartition(".")[2]
        command = commands.add_parser(
            name,
            help=module.HELP,
            description=module.DESCRIPTION,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        module.add_arguments(command)
        command.set_defaults(run=module.run)
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command and return its exit code: 0, 1 (training diverged), 2 (bad input), 130 (interrupted)."""
    options = make_parser().parse_args(arguments)
    try:
        return options.run(options) or 0
    except TrainingDiverged as error:
        return _fail(error, EXIT_DIVERGED)
    except (ValueError, TypeError, ImportError, OSError) as error:
        return _fail(error, EXIT_BAD_INPUT)
    except KeyboardInterrupt:
        return _fail("interrupted", EXIT_INTERRUPTED)


def _fail(error: object, code: int) -> int:
    print(f"pn-gpu: error: {' '.join(str(error).split())}", file=sys.stderr)
    return code
