"""The network that ``pn-gpu train`` makes, and the options that say so."""

from __future__ import annotations

import argparse
import math
from typing import Any

from pn_gpu.data import Dataset
from pn_gpu.kernels import potentials
from pn_gpu.model.activations import ACTIVATIONS
from pn_gpu.model.initialisation import INITIALISATIONS
from pn_gpu.networks.dense_network import DenseNetwork
from pn_gpu.networks.network import Network
from pn_gpu.networks.particle_network import ParticleNetwork
from pn_gpu.planning.plan import METHODS
from pn_gpu.sensors import grid_positions
from pn_gpu.training.recipes import DIPOLE_DIM_OF_MANY, MANY_OUTPUTS, SMALL_DATA, default_dims, get_recipe

MODELS = ("dipole", "charge-phase", "dense")

# What the user types for arguments of the network that are called otherwise.
NETWORK_FLAGS = {"sizes": "--hidden", "positions": "--grid", "dipole_places": "--dipole-grid"}

# What --grid without a shape stands for: that of the data's images.
IMAGE: tuple[int, ...] = ()


def add_network_arguments(group: argparse._ArgumentGroup) -> None:
    """Options that say what is trained."""
    group.add_argument(
        "--hidden", default="64", metavar="N,N", help="nodes of the hidden layers; '' for none (default: 64)"
    )
    group.add_argument("--dim", type=int, metavar="N", help="dimensions of the particles' positions")
    group.add_argument(
        "--grid",
        nargs="?",
        type=_parse_grid,
        const=IMAGE,
        metavar="AxB",
        help="inputs are pixels (28x28) or samples (40) at known places, which are not trained; without AxB the shape"
        " of the data's images",
    )
    group.add_argument(
        "--dipole-grid",
        type=_parse_grid,
        metavar="AxB",
        help="beside --grid: interpolate the inputs' dipoles between so many places, such as 7x7 for 28x28, instead of"
        " training one for each",
    )
    group.add_argument(
        "--dipole-dim",
        type=int,
        metavar="D",
        help=f"of their dipoles (default: N; with --grid {DIPOLE_DIM_OF_MANY}; neither given: 3 with the paper's "
        " recipe, 2 and 4 with the modern one,"
        f" and {DIPOLE_DIM_OF_MANY} instead of 4 for {MANY_OUTPUTS} outputs or more below {SMALL_DATA} examples)",
    )
    group.add_argument(
        "--initialisation",
        choices=INITIALISATIONS,
        help="size of the dipoles at the start (default: paper with the paper's recipe, else scaled)",
    )
    group.add_argument("--model", choices=MODELS, default="dipole", help="what a node is (default: dipole)")
    group.add_argument("--potential", choices=potentials.names(), default="gaussian", help="k(s) (default: gaussian)")
    group.add_argument("--activation", choices=list(ACTIVATIONS), help="hidden layers' (default: the recipe's)")
    sharing = group.add_mutually_exclusive_group()
    sharing.add_argument(
        "--shared",
        action="store_true",
        default=None,
        help="let the outputs of a layer be the inputs of the next (default with the paper's recipe)",
    )
    sharing.add_argument(
        "--unshared",
        action="store_false",
        dest="shared",
        help="give every layer node sets of its own (default with the modern recipe)",
    )
    group.add_argument("--dropout", type=float, default=0.0, metavar="P", help="of hidden activations (default: 0)")
    group.add_argument("--method", choices=METHODS, default="auto", help="how layers are computed (default: auto)")
    group.add_argument("--rtol", type=float, default=1e-3, help="tolerance of an approximate method (default: 1e-3)")
    group.add_argument("--backend", default="auto", help="numpy, torch, torch:cuda:0, cupy, ... (default: auto)")
    group.add_argument("--dtype", choices=("float32", "float64"), default="float32", help="(default: float32)")


def make_network(options: argparse.Namespace, dataset: Dataset) -> Network:
    """The network that the options ask for, of the data's width."""
    sizes = [dataset.num_features, *_parse_hidden(options.hidden), dataset.num_outputs]
    recipe = get_recipe(options.recipe)
    common: dict[str, Any] = {
        "activation": options.activation or recipe.activation,
        "output": "linear" if dataset.num_classes is None else "softmax",
        "dropout": options.dropout,
        "seed": options.seed,
        "backend": options.backend,
        "dtype": options.dtype,
    }
    if options.model == "dense":
        if options.grid is not None or options.dipole_grid is not None:
            raise ValueError("--grid: got it with --model dense, want a model of particles")
        return DenseNetwork(sizes, **common)
    dim, dipole_dim = _dims(options, dataset)
    return ParticleNetwork(
        sizes,
        dim,
        **_places(options, dataset),
        dipole_dim=dipole_dim,
        initialisation=options.initialisation or recipe.initialisation,
        model=options.model.replace("-", "_"),
        shared=recipe.shared if options.shared is None else options.shared,
        potential=options.potential,
        method=options.method,
        rtol=options.rtol,
        **common,
    )


def _places(options: argparse.Namespace, dataset: Dataset) -> dict[str, Any]:
    """Where the inputs are, and what their dipoles are interpolated between, if that was asked for."""
    places: dict[str, Any] = {}
    if options.grid is not None:
        shape = options.grid or dataset.image_shape
        if shape is None:
            raise ValueError(f"--grid: {dataset.name} holds no images, want a shape, such as --grid 28x28 or --grid 40")
        if options.dim not in (None, len(shape)):
            raise ValueError(f"--dim: got {options.dim} with a grid of {len(shape)} axes, want {len(shape)} or none")
        if math.prod(shape) != dataset.num_features:
            raise ValueError(
                f"--grid: got {'x'.join(map(str, shape))}, {math.prod(shape)} places, for {dataset.num_features} inputs"
            )
        places["positions"] = grid_positions(shape)
    if options.dipole_grid is not None:
        places["dipole_places"] = grid_positions(options.dipole_grid)
    return places


def _dims(options: argparse.Namespace, dataset: Dataset) -> tuple[int | None, int | None]:
    """Dimensions of positions and dipoles; None for those of the places."""
    if options.grid is not None and options.dipole_dim is None and options.model == "dipole":
        return options.dim, DIPOLE_DIM_OF_MANY
    if options.grid is not None:
        return options.dim, options.dipole_dim
    if options.dim is None and options.dipole_dim is None and options.model == "dipole":
        return default_dims(options.recipe, len(dataset.x_train), dataset.num_outputs)
    return 3 if options.dim is None else options.dim, options.dipole_dim


def _parse_grid(text: str) -> tuple[int, ...]:
    parts = text.lower().split("x")
    if not all(part.isdecimal() and int(part) > 0 for part in parts):
        raise argparse.ArgumentTypeError(f"got {text!r}, want numbers of places along every axis, such as 28x28")
    return tuple(map(int, parts))


def _parse_hidden(text: str) -> list[int]:
    parts = [part.strip() for part in text.split(",") if part.strip()]
    if not all(part.isdecimal() and int(part) > 0 for part in parts):
        raise ValueError(f"--hidden: got {text!r}, want numbers of nodes separated by commas, such as 128,64")
    return [int(part) for part in parts]
