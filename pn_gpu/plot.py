"""Pictures of networks and of their training, with matplotlib (the extra ``plot``).

Every function takes ``path``, where the picture is saved too, and all but the grid of receptive fields take ``ax``,
the axes to draw on; without it they make a figure through pyplot, so that ``plt.show()`` and notebooks show it.
"""

from __future__ import annotations

import math
import os
from typing import Any

import numpy as np

from pn_gpu.backends import to_numpy
from pn_gpu.checks import check_choice, check_integer
from pn_gpu.files import replacing
from pn_gpu.model.layers import ParticleLayer
from pn_gpu.model.network import Network
from pn_gpu.model.particle_network import ParticleNetwork
from pn_gpu.operator import dense_weight
from pn_gpu.training.history import History

try:
    from matplotlib.figure import Figure
except ImportError as error:
    raise ImportError("pictures need matplotlib, which is not installed; want: pip install 'pn-gpu[plot]'") from error

Array = np.ndarray[Any, np.dtype[Any]]
Axes = Any
Path_ = str | os.PathLike[str]

# Okabe and Ito's colours, which the colour-blind can tell apart; a node set each.
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000")

# Above this many nodes on a side a picture of weights shows a sample of them.
MAX_WEIGHT_NODES = 1024

DPI = 130


def particles(network: ParticleNetwork, ax: Axes | None = None, path: Path_ | None = None) -> Axes:
    """The particles of all node sets, a colour for each set, with their dipoles as arrows.

    One dimension is drawn with a row for every set, two and three as they are, and more by the first three principal
    axes of all positions together. Dipoles that do not live in the space of the positions (the charge-phase model,
    unless n = 2) are left out.

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
    ax.set_title(f"{'-'.join(map(str, network.sizes))}, n = {network.dim}{view.note}")
    return _finish(ax, path)


class ParticleView:
    """How the node sets of one network are drawn: which axes, colours and marks, and how n dimensions become them.

    Parameters
    ----------
    network : ParticleNetwork
        For n > 3 its present positions fix the principal axes.
    max_particles : int, optional
        Draw at most so many of a node set, evenly chosen; default all.
    """

    def __init__(self, network: ParticleNetwork, max_particles: int | None = None) -> None:
        if not isinstance(network, ParticleNetwork):
            raise TypeError(f"network: got a {type(network).__name__}, want a ParticleNetwork: only it has particles")
        self.dim = network.dim
        self.labels = _node_set_labels(network)
        counts = [nodes.positions.shape[0] for nodes in network.particles]
        self.chosen = [_evenly(count, max_particles or count) for count in counts]
        self.note = "" if self.dim <= 3 else " (first three principal axes)"
        self._rotation = np.eye(self.dim)
        if self.dim > 3:
            everything = np.concatenate([to_numpy(nodes.positions) for nodes in network.particles]).astype(np.float64)
            self._rotation = np.linalg.svd(everything - everything.mean(axis=0), full_matrices=False)[2].T[:, :3]

    def project(self, network: ParticleNetwork) -> tuple[list[Array], list[Array | None]]:
        """Positions and dipoles [N, min(n, 3)] of every node set, as they are drawn."""
        positions, dipoles = [], []
        for nodes, chosen in zip(network.particles, self.chosen, strict=True):
            positions.append(to_numpy(nodes.positions)[chosen] @ self._rotation)
            as_output = "charges" in dir(nodes)
            v = to_numpy(network.model.dipoles(nodes, as_output=as_output))[chosen]
            dipoles.append(v @ self._rotation if v.shape[1] == self.dim else None)
        return positions, dipoles

    def make_axes(self, figure: Any = None, position: Any = 111) -> Axes:
        """New axes of the right kind, in a figure of their own unless one is given."""
        figure = _new_figure((6.4, 5.6 if self.dim > 1 else 3.2)) if figure is None else figure
        return figure.add_subplot(position, projection="3d") if self.dim >= 3 else figure.add_subplot(position)

    def check_axes(self, ax: Axes) -> Axes:
        """``ax`` if it has as many dimensions as the picture."""
        if (ax.name == "3d") != (self.dim >= 3):
            want = 'three-dimensional axes (projection="3d")' if self.dim >= 3 else "plain axes"
            raise ValueError(f"ax: got axes of the kind {ax.name!r}, want {want} for n = {self.dim}")
        return ax

    def draw(self, ax: Axes, positions: list[Array], dipoles: list[Array | None]) -> None:
        """Draw all node sets on ``ax``."""
        arrow = 0.3 if sum(map(len, positions)) <= 300 else 0.2
        for index, (r, v, label) in enumerate(zip(positions, dipoles, self.labels, strict=True)):
            colour = COLOURS[index % len(COLOURS)]
            # Many particles are small and faint, so that the few of a later set stay visible among them.
            size = float(np.clip(400 / len(r), 3, 30))
            alpha = 0.9 if len(r) <= 100 else 0.45
            points = [*r.T] if self.dim > 1 else [r[:, 0], np.full(len(r), -float(index))]
            ax.scatter(*points, s=size, color=colour, alpha=alpha, label=f"{label} ({len(r)})", linewidths=0)
            if v is None:
                continue
            arrows = [*v.T] if self.dim > 1 else [v[:, 0], np.zeros(len(v))]
            if self.dim >= 3:
                ax.quiver(*points, *arrows, length=arrow, color=colour, alpha=alpha, lw=0.7, arrow_length_ratio=0.3)
            else:
                ax.quiver(
                    *points,
                    *(arrow * np.asarray(arrows)),
                    angles="xy",
                    scale_units="xy",
                    scale=1,
                    color=colour,
                    alpha=alpha,
                    width=0.0025,
                )
        self._label(ax)

    def _label(self, ax: Axes) -> None:
        names = ["first", "second", "third"] if self.dim > 3 else ["x", "y", "z"][: self.dim]
        ax.set_xlabel(names[0])
        if self.dim == 1:
            ax.set_yticks([-float(index) for index in range(len(self.labels))], self.labels)
            ax.margins(0.05, 0.3)
            return
        ax.set_ylabel(names[1])
        if self.dim >= 3:
            ax.set_zlabel(names[2])
            ax.set_box_aspect(None, zoom=0.92)
        else:
            ax.set_aspect("equal", adjustable="datalim")
        ax.legend(loc="upper right", fontsize=8, framealpha=0.8)


def _node_set_labels(network: ParticleNetwork) -> list[str]:
    if not network.shared:
        return [f"layer {layer.index} {side}" for layer in network.layers_in_order for side in ("inputs", "outputs")]
    last = len(network.sizes) - 1
    hidden = ["hidden"] if last == 2 else [f"hidden {index}" for index in range(1, last)]
    return ["inputs", *hidden, "outputs"]


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
    check_integer("layer", layer, low=0, high=len(network.layers_in_order) - 1)
    num_in, num_out = network.sizes[layer], network.sizes[layer + 1]
    rows, columns = _evenly(num_in, MAX_WEIGHT_NODES), _evenly(num_out, MAX_WEIGHT_NODES)
    w = _weight(network, layer, rows, columns)
    limit = _limit(w)
    ax = _new_figure((5.6, 5)).add_subplot() if ax is None else ax
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
    return _finish(ax, path)


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
    check_integer("layer", layer, low=0, high=len(network.layers_in_order) - 1)
    num_in, num_out = network.sizes[layer], network.sizes[layer + 1]
    shape = _image_shape(image_shape, num_in)
    count = min(check_integer("count", count, low=1), num_out)
    w = _weight(network, layer, np.arange(num_in), np.arange(count))
    num_columns = min(count, max(4, math.ceil(math.sqrt(count))))
    num_rows = math.ceil(count / num_columns)
    figure = _new_figure((1.25 * num_columns + 0.6, 1.35 * num_rows + 0.5))
    limit = _limit(w)
    axes = figure.subplots(num_rows, num_columns, squeeze=False)
    for node, ax in enumerate(axes.flat):
        ax.set_axis_off()
        if node < count:
            image = ax.imshow(w[:, node].reshape(shape), cmap="RdBu_r", vmin=-limit, vmax=limit)
            ax.set_title(str(node), fontsize=8, pad=2)
    figure.colorbar(image, ax=axes, label="weight", shrink=0.8)
    figure.suptitle(f"weights to the output nodes of layer {layer}", fontsize=10)
    return _save(figure, path)


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
    ax = _new_figure((5.6, 3.8)).add_subplot() if ax is None else ax
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
    return _finish(ax, path)


def summary(network: Network, history: History, path: Path_ | None = None) -> Any:
    """One figure of a trained network: its training history, its particles (if it has any) and its first weights.

    Parameters
    ----------
    network : ParticleNetwork or DenseNetwork
    history : History
    path
        As in `particles`.

    Returns
    -------
    Figure
        Made without pyplot: nothing to close, and no display is needed.
    """
    quantities = [name for name in ("loss", "accuracy") if name in history]
    has_particles = isinstance(network, ParticleNetwork)
    figure = Figure(figsize=(15 if has_particles else 10, 5.6), layout="constrained")
    grid = figure.add_gridspec(
        len(quantities), 3 if has_particles else 2, width_ratios=[1, 1.3, 1][: 2 + has_particles]
    )
    for row, quantity in enumerate(quantities):
        training_history(history, quantity, ax=figure.add_subplot(grid[row, 0]))
    if isinstance(network, ParticleNetwork):
        particles(network, ax=ParticleView(network).make_axes(figure, grid[:, 1]))
    weights(network, ax=figure.add_subplot(grid[:, -1]))
    return _save(figure, path)


def _weight(network: Network, layer: int, rows: Array, columns: Array) -> Array:
    """The chosen rows and columns of a layer's weight matrix; of a particle layer no others are computed."""
    connection = network.layers_in_order[layer]
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


def _evenly(count: int, most: int) -> Array:
    """At most ``most`` indices below ``count``, evenly spaced."""
    return np.arange(count) if count <= most else np.linspace(0, count - 1, most).round().astype(np.int64)


def _new_figure(size: tuple[float, float]) -> Any:
    import matplotlib.pyplot as plt

    return plt.figure(figsize=size, layout="constrained")


def _finish(ax: Axes, path: Path_ | None) -> Axes:
    _save(ax.figure, path)
    return ax


def _save(figure: Any, path: Path_ | None) -> Any:
    if path is not None:
        check_picture(path)
        with replacing(path) as temporary:
            figure.savefig(temporary, format=_suffix(path), dpi=DPI)
    return figure


def check_picture(path: Path_) -> None:
    """ValueError if the suffix of ``path`` is none of the formats that figures can be saved in."""
    formats = Figure().canvas.get_supported_filetypes()
    if _suffix(path) not in formats:
        raise ValueError(f"{path}: want a file that ends in one of .{', .'.join(sorted(formats))}")


def _suffix(path: Path_) -> str:
    return os.path.splitext(path)[1][1:].lower()
