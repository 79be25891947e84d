"""Pictures of networks and of their training, with matplotlib (the extra ``plot``).

Every function takes ``path``, where the picture is saved too, and all but the grid of receptive fields take ``ax``,
the axes to draw on; without it they make a figure through pyplot, so that ``plt.show()`` and notebooks show it.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from pn_gpu.backends import to_numpy
from pn_gpu.checks import check_choice, check_integer
from pn_gpu.data.target_coding import Classes, TargetCoding
from pn_gpu.figures import Axes, Figure, Path_, check_picture, finish, new_figure, save
from pn_gpu.model.layers import ParticleLayer
from pn_gpu.networks.network import Network
from pn_gpu.networks.particle_network import ParticleNetwork
from pn_gpu.operator import dense_weight
from pn_gpu.particle_view import COLOURS, ParticleView, evenly
from pn_gpu.result_plots import confusion_matrix, predicted_against_true
from pn_gpu.training.history import History

__all__ = [
    "check_picture",
    "confusion_matrix",
    "particles",
    "predicted_against_true",
    "receptive_fields",
    "summary",
    "training_history",
    "weights",
]

Array = np.ndarray[Any, np.dtype[Any]]

# Above this many nodes on a side a picture of weights shows a sample of them.
MAX_WEIGHT_NODES = 1024


def particles(network: ParticleNetwork, ax: Axes | None = None, path: Path_ | None = None) -> Axes:
    """The particles of all node sets, a colour for each set, with their dipoles as arrows.

    One dimension is drawn with a row for every set, two and three as they are, and more by the first three principal
    axes of all positions together. Dipoles of more dimensions than the positions are drawn by their own principal axes,
    dipoles of fewer (the charge-phase model for n > 2) are left out; the title says so. The arrows of a node set have
    length 1 in the (root mean square) average.

    Parameters
    ----------
    network : ParticleNetwork
    ax : Axes, optional
        To draw on; three-dimensional axes (``projection="3d"``) for n >= 3.
    path : path, optional
        Where to save the figure; the suffix says the format.

    Returns
    -------
    Axes

    Raises
    ------
    TypeError
        If the network has no particles.
    """
    view = ParticleView(network)
    ax = view.make_axes() if ax is None else view.check_axes(ax)
    positions, dipoles = view.project(network)
    view.draw(ax, positions, dipoles)
    ax.set_title(f"{'-'.join(map(str, network.sizes))}, {_dimensions(network)}{view.note}")
    return finish(ax, path)


def _dimensions(network: ParticleNetwork) -> str:
    free = network.model.name == "dipole" and network.dipole_dim != network.dim
    return f"n = {network.dim}, d = {network.dipole_dim}" if free else f"n = {network.dim}"


def weights(network: Network, layer: int = 0, ax: Axes | None = None, path: Path_ | None = None) -> Axes:
    """The weight matrix of one layer as an image; that of a particle layer is computed for the picture.

    Of a layer with more than 1024 nodes on a side, evenly chosen ones are shown, and no other weight is computed.

    Parameters
    ----------
    network : ParticleNetwork or DenseNetwork
    layer : int, default 0
    ax, path
        As in `particles`.

    Returns
    -------
    Axes
    """
    check_integer("layer", layer, low=0, high=len(network.connections) - 1)
    num_in, num_out = network.sizes[layer], network.sizes[layer + 1]
    rows, columns = evenly(num_in, MAX_WEIGHT_NODES), evenly(num_out, MAX_WEIGHT_NODES)
    w = _weight(network, layer, rows, columns)
    limit = _limit(w)
    ax = new_figure((5.6, 5)).add_subplot() if ax is None else ax
    image = ax.imshow(
        w,
        cmap="RdBu_r",
        vmin=-limit,
        vmax=limit,
        aspect="auto",
        interpolation="nearest",
        extent=(-0.5, num_out - 0.5, num_in - 0.5, -0.5),
    )
    ax.figure.colorbar(image, ax=ax, label="weight")
    ax.set_xlabel("output node")
    ax.set_ylabel("input node")
    sampled = "" if w.shape == (num_in, num_out) else f", {w.shape[0]} x {w.shape[1]} of them shown"
    implicit = "implicit weights" if isinstance(network, ParticleNetwork) else "weights"
    ax.set_title(f"{implicit} of layer {layer}, {num_in} x {num_out}{sampled}")
    return finish(ax, path)


def receptive_fields(
    network: Network,
    image_shape: tuple[int, int] | None = None,
    layer: int = 0,
    count: int = 16,
    path: Path_ | None = None,
) -> Any:
    """What the first ``count`` output nodes of a layer look at: their weights laid out as the input images.

    Parameters
    ----------
    network : ParticleNetwork or DenseNetwork
    image_shape : (int, int), optional
        Rows and columns of the input images; default a square.
    layer : int, default 0
    count : int, default 16
    path
        As in `particles`.

    Returns
    -------
    Figure

    Raises
    ------
    ValueError
        If the inputs of the layer are no images of that shape.
    """
    check_integer("layer", layer, low=0, high=len(network.connections) - 1)
    num_in, num_out = network.sizes[layer], network.sizes[layer + 1]
    shape = _image_shape(image_shape, num_in)
    count = min(check_integer("count", count, low=1), num_out)
    w = _weight(network, layer, np.arange(num_in), np.arange(count))
    num_columns = min(count, max(4, math.ceil(math.sqrt(count))))
    num_rows = math.ceil(count / num_columns)
    figure = new_figure((1.25 * num_columns + 0.6, 1.35 * num_rows + 0.5))
    limit = _limit(w)
    axes = figure.subplots(num_rows, num_columns, squeeze=False)
    for node, ax in enumerate(axes.flat):
        ax.set_axis_off()
        if node < count:
            image = ax.imshow(w[:, node].reshape(shape), cmap="RdBu_r", vmin=-limit, vmax=limit)
            ax.set_title(str(node), fontsize=8, pad=2)
    figure.colorbar(image, ax=axes, label="weight", shrink=0.8)
    figure.suptitle(f"weights to the output nodes of layer {layer}", fontsize=10)
    return save(figure, path)


def training_history(
    history: History, quantity: str | None = None, ax: Axes | None = None, path: Path_ | None = None
) -> Axes:
    """Loss or accuracy by epoch, in training and, where it was measured, on validation data.

    Parameters
    ----------
    history : History
    quantity : {"loss", "accuracy", "lr"}, optional
        Default "accuracy" where it was measured, else "loss".
    ax, path
        As in `particles`.

    Returns
    -------
    Axes

    Raises
    ------
    ValueError
        If the history has no epoch, or no such measurement.
    """
    if not history.num_epochs:
        raise ValueError("history: got one without an epoch, want a trained network's")
    if quantity is None:
        quantity = "accuracy" if "accuracy" in history else "loss"
    check_choice("quantity", quantity, [name for name in ("loss", "accuracy", "lr") if name in history])
    ax = new_figure((5.6, 3.8)).add_subplot() if ax is None else ax
    epochs = np.arange(1, history.num_epochs + 1)
    factor, label = {"accuracy": (100, "accuracy, %"), "loss": (1, "loss"), "lr": (1, "learning rate")}[quantity]
    named = quantity == "lr"
    for name, text, colour, style in (
        (quantity, "learning rate" if named else "training", COLOURS[0], "-"),
        (f"val_{quantity}", "validation", COLOURS[1], "--"),
    ):
        if name in history:
            values = factor * np.asarray(history[name])
            text = text if named else f"{text}, at the end {values[-1]:.4g}"
            ax.plot(epochs, values, style, color=colour, lw=1.6, label=text, marker="." if len(values) < 12 else "")
    if quantity == "loss" and min(history["loss"]) > 0:
        ax.set_yscale("log")
    ax.xaxis.get_major_locator().set_params(integer=True)
    ax.set_xlabel("epoch")
    ax.set_ylabel(label)
    ax.grid(alpha=0.3, which="both", lw=0.5)
    ax.legend(fontsize=8)
    return finish(ax, path)


def summary(
    network: Network,
    history: History,
    path: Path_ | None = None,
    test: tuple[TargetCoding, Array, Array] | None = None,
) -> Any:
    """One figure of a trained network: its training history, its particles (if it has any) and its first weights.

    Parameters
    ----------
    network : ParticleNetwork or DenseNetwork
    history : History
    path
        As in `particles`.
    test : (targets, y, predicted), optional
        What the outputs stand for (``dataset.preprocessing.targets``), targets of a test part, and what the network
        predicts for it: adds a confusion matrix, or predicted against true values.

    Returns
    -------
    Figure
        Made without pyplot: nothing to close, and no display is needed.
    """
    quantities = [name for name in ("loss", "accuracy") if name in history]
    widths = [1.0, 1.3, 1.0] if isinstance(network, ParticleNetwork) else [1.0, 1.0]
    widths += [] if test is None else [1.1]
    figure = Figure(figsize=(1.5 + 4.2 * sum(widths), 5.6), layout="constrained")
    grid = figure.add_gridspec(len(quantities), len(widths), width_ratios=widths)
    for row, quantity in enumerate(quantities):
        training_history(history, quantity, ax=figure.add_subplot(grid[row, 0]))
    if isinstance(network, ParticleNetwork):
        particles(network, ax=ParticleView(network).make_axes(figure, grid[:, 1]))
    weights(network, ax=figure.add_subplot(grid[:, -1 if test is None else -2]))
    if test is not None:
        targets, y, predicted = test
        draw = confusion_matrix if isinstance(targets, Classes) else predicted_against_true
        draw(targets.decode(y), targets.decode(predicted), ax=figure.add_subplot(grid[:, -1]))
    return save(figure, path)


def _weight(network: Network, layer: int, rows: Array, columns: Array) -> Array:
    """The chosen rows and columns of a layer's weight matrix; of a particle layer no others are computed."""
    connection = network.connections[layer]
    if isinstance(connection, ParticleLayer):
        r_in, v_in, r_out, v_out = (to_numpy(array) for array in connection.particles(network.parameters))
        return to_numpy(dense_weight(r_in[rows], v_in[rows], r_out[columns], v_out[columns], connection.potential))
    return to_numpy(network.parameters[f"{connection.prefix}.weight"])[np.ix_(rows, columns)]


def _limit(w: Array) -> float:
    """The end of a colour scale around 0: a few large weights shall not leave the rest white."""
    return float(np.quantile(np.abs(w), 0.995)) or 1.0


def _image_shape(image_shape: tuple[int, int] | None, num_in: int) -> tuple[int, int]:
    side = math.isqrt(num_in)
    shape = (side, side) if image_shape is None else tuple(image_shape)
    if len(shape) != 2 or math.prod(shape) != num_in:
        raise ValueError(f"image_shape: got {image_shape}, want two numbers whose product is {num_in}, the inputs")
    return shape
