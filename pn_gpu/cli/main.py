"""Entry point: subcommands, and errors as one line with an exit code."""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import pn_gpu
from pn_gpu.cli import console, evaluate, info, memory, predict, train
from pn_gpu.cli.exit_codes import EXIT_BAD_INPUT, EXIT_FAILED, EXIT_INTERRUPTED, EXIT_NO_READER
from pn_gpu.training.loop import TrainingDiverged

DESCRIPTION = """\
Particle Networks: layers whose weights are computed from particles and never stored.

  pn-gpu train                                   train on the embedded handwritten digits
  pn-gpu train --data mnist --hidden 128 --dim 3 train on MNIST
  pn-gpu train --data table.csv --target price   train on a table of your own
  pn-gpu predict pn-table.safetensors --data new.csv
  pn-gpu evaluate pn-digits.safetensors          test a saved network
  pn-gpu memory --sizes 784,512,10               what a network takes, beside the dense one
  pn-gpu info                                    which backends are found, and why one is missing

`pn-gpu COMMAND --help` explains a command.
"""


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
        command.set_defaults(run=module.run, flags=_flags(command) | getattr(module, "FLAGS", {}))
    return parser


def _flags(parser: argparse.ArgumentParser) -> dict[str, str]:
    """What the user types for every argument of the library."""
    return {action.dest: action.option_strings[0] for action in parser._actions if action.option_strings}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command and return its exit code: 0, or one of `pn_gpu.cli.exit_codes`."""
    console.open_closed_streams()
    flags: dict[str, str] = {}
    try:
        try:
            options = make_parser().parse_args(arguments)
            flags = options.flags
            return options.run(options) or 0
        finally:
            sys.stdout.flush()
    except BrokenPipeError:
        console.silence()
        return EXIT_NO_READER
    except TrainingDiverged as error:
        return _fail(error, EXIT_FAILED)
    except (ValueError, TypeError, ImportError, OSError) as error:
        return _fail(_with_flag(str(error), flags), EXIT_BAD_INPUT)
    except MemoryError as error:
        return _fail(f"out of memory ({error or 'no more can be had'})", EXIT_BAD_INPUT)
    except KeyboardInterrupt:
        return _fail("interrupted", EXIT_INTERRUPTED)


def _with_flag(message: str, flags: Mapping[str, str]) -> str:
    """A message of the library about one of its arguments, by the name of the flag the user typed."""
    match = re.match(r"(\w+)(?:\[\d+\])?: ", message)
    return message if match is None or match[1] not in flags else f"{flags[match[1]]}: {message[match.end() :]}"


def _fail(error: Any, code: int) -> int:
    print(f"pn-gpu: error: {' '.join(str(error).split())}", file=sys.stderr)
    return code
