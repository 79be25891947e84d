"""python -m bench NAME: re-run a measurement that the README quotes."""

from __future__ import annotations

import argparse
import importlib
import sys

# A benchmark is a module of this package with add_arguments(parser) and run(options).
BENCHMARKS = {
    "operator": "forward and backward beside the products with a stored W",
    "batched": "layers of one shape in one call beside a call for each",
    "step": "a training step beside plain torch, KeOps and nn.Linear",
    "derivatives": "products with a Hessian and forward mode beside plain torch and KeOps",
    "memory": "peak memory: of the operator, and with --widths of networks against the formula",
    "mnist": "time of an epoch beside torch, and test accuracy",
    "wide": "wide layers by the Mehler method beside dense products",
    "auto": "method=auto beside direct, whatever it chooses",
    "train_wide": "wide networks trained to the end beside a dense MLP: time, accuracy, memory",
    "tables": "small tables: the defaults of pn-gpu train beside scikit-learn's perceptron",
    "initialisation": "initial loss and accuracy after a few epochs, by topology and start",
    "busy": "a wide layer beside busy processes: the times of its quiet ones",
    "table1": "the paper's Table 1: accuracy by topology, dimension and recipe",
    "equal_parameters": "accuracy of particle networks and of other ways to save parameters, at equal numbers",
    "resize": "networks made smaller and larger after training, beside a dense network's rules",
    "federated": "federated averaging: bytes that travel until an accuracy, beside dense, low rank and FedPara",
    "ratings": "rating prediction on MovieLens-100K: an autoencoder of particles beside its dense twin",
    "sensors": "sensors dropped, moved and on other grids: particles with known places beside a dense network",
    "distillation": "a trained dense network replaced by particles, layer by layer, and trained on",
    "gpu": "particle layers beside dense ones on a GPU: times, memory, roofline",
    "compiled": "the Triton kernels compiled for GPUs that are not there: registers, spills, instructions",
    "cupy": "the CuPy kernels beside cuBLAS on a stored W",
}

DESCRIPTION = """\
Speed and memory, as ratios of providers measured side by side in one run.

{names}

Run on an otherwise idle machine. `python -m bench NAME --help` lists the options of one.
"""


def main() -> int:
    """Parse the command line and run one benchmark; only its own libraries are imported."""
    names = "\n".join(f"  {name:<15}{text}" for name, text in BENCHMARKS.items())
    chooser = argparse.ArgumentParser(
        prog="python -m bench",
        description=DESCRIPTION.format(names=names),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    chooser.add_argument("name", choices=BENCHMARKS, metavar="NAME")
    name = chooser.parse_args(sys.argv[1:2]).name
    module = importlib.import_module(f"bench.{name}")
    parser = argparse.ArgumentParser(
        prog=f"python -m bench {name}",
        description=module.__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    module.add_arguments(parser)
    options = parser.parse_args(sys.argv[2:])
    try:
        return module.run(options) or 0
    except (ValueError, TypeError, ImportError, OSError) as error:
        print(f"bench: error: {' '.join(str(error).split())}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    raise SystemExit(main())
