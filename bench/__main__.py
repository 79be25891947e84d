"""python -m bench NAME: re-run a measurement that the README quotes."""

from __future__ import annotations

import argparse
import importlib

# A benchmark is a module of this package with HELP, add_arguments(parser) and run(options).
BENCHMARKS = ("operator", "step", "memory", "mnist", "wide", "table1", "gpu", "cupy")


def main() -> None:
    """Parse the command line and run one benchmark."""
    parser = argparse.ArgumentParser(
        prog="python -m bench",
        description="Speed and memory, as ratios of providers measured side by side in one run.",
        epilog="Run on an otherwise idle machine. 'python -m bench NAME --help' lists the options of one.",
    )
    commands = parser.add_subparsers(dest="benchmark", required=True, metavar="NAME")
    for name in BENCHMARKS:
        module = importlib.import_module(f"bench.{name}")
        command = commands.add_parser(
            name,
            help=module.HELP,
            description=module.__doc__,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        module.add_arguments(command)
        command.set_defaults(run=module.run)
    options = parser.parse_args()
    options.run(options)


if __name__ == "__main__":
    main()
