"""How the particles of a network become points and arrows: axes, colours, marks, and projection to what can be seen."""

from __future__ import annotations

from typing import Any

import numpy as np

from pn_gpu.backends import to_numpy
from pn_gpu.figures import new_figure
from pn_gpu.networks.particle_network import ParticleNetwork

Array = np.ndarray[Any, np.dtype[Any]]
Axes = Any

# Okabe and Ito's colours, which the colour-blind can tell apart; a node set each.
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000")


class ParticleView:
    """How the node sets of one network are drawn: which axes, colours and marks, and how n dimensions become them.

    The arrows of a node set are drawn at the same scale, at which their present length is 1 (root mean square): sets
    differ in it by their start. Dipoles of more dimensions than positions are drawn by their principal axes, of fewer
    not at all; ``note`` says so.

    Parameters
    ----------
    network : ParticleNetwork
        Its present positions (for n > 3) and dipoles fix the principal axes.
    max_particles : int, optional
        Draw at most so many of a node set, evenly chosen; default all.
    """

    def __init__(self, network: ParticleNetwork, max_particles: int | None = None) -> None:
        if not isinstance(network, ParticleNetwork):
            raise TypeError(f"network: got a {type(network).__name__}, want a ParticleNetwork: only it has particles")
        self.dim = network.dim
        self.labels = _node_set_labels(network)
        counts = [nodes.positions.shape[0] for nodes in network.particles]
        self.chosen = [evenly(count, max_particles or count) for count in counts]
        self.note = _note(network)
        self._rotation = np.eye(self.dim)
        if self.dim > 3:
            everything = np.concatenate([to_numpy(nodes.positions) for nodes in network.particles]).astype(np.float64)
            self._rotation = _principal_axes(everything - everything.mean(axis=0), 3)
        self._set_dipole_axes(network)

    def project(self, network: ParticleNetwork) -> tuple[list[Array], list[Array | None]]:
        """Positions and dipoles [N, min(n, 3)] of every node set, as they are drawn."""
        positions, dipoles = [], []
        every_set = zip(network.particles, _dipoles(network), self.chosen, self._lengths, strict=True)
        for nodes, v, chosen, length in every_set:
            positions.append(to_numpy(nodes.positions)[chosen] @ self._rotation)
            shown = v[chosen] / length
            dipoles.append(None if self._dipole_axes is None else shown @ self._dipole_axes)
        return positions, dipoles

    def _set_dipole_axes(self, network: ParticleNetwork) -> None:
        every_set = _dipoles(network)
        self._lengths = [float(np.sqrt((v * v).sum(axis=1).mean())) or 1.0 for v in every_set]
        self._dipole_axes: Array | None = None
        if network.dipole_dim == self.dim:
            self._dipole_axes = self._rotation
        elif network.dipole_dim > self.dim:
            alike = np.concatenate([v / length for v, length in zip(every_set, self._lengths, strict=True)])
            self._dipole_axes = _principal_axes(alike, min(self.dim, 3))

    def make_axes(self, figure: Any = None, position: Any = 111) -> Axes:
        """New axes of the right kind, in a figure of their own unless one is given."""
        figure = new_figure((6.4, 5.6 if self.dim > 1 else 3.2)) if figure is None else figure
        return figure.add_subplot(position, projection="3d") if self.dim >= 3 else figure.add_subplot(position)

    def check_axes(self, ax: Axes) -> Axes:
        """``ax`` if it has as many dimensions as the picture."""
        if (ax.name == "3d") != (self.dim >= 3):
            want = 'three-dimensional axes (projection="3d")' if self.dim >= 3 else "plain axes"
            raise ValueError(f"ax: got axes of the kind {ax.name!r}, want {want} for n = {self.dim}")
        return ax

    def draw(self, ax: Axes, positions: list[Array], dipoles: list[Array | None]) -> None:
        """Draw all node sets on ``ax``."""
        arrow = arrow_length(positions)
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
                # The axes know of where arrows begin alone, and would cut their heads off.
                ax.update_datalim(np.stack(points, axis=1) + arrow * np.stack(arrows, axis=1))
                ax.autoscale_view()
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


def _note(network: ParticleNetwork) -> str:
    """What of the positions and dipoles is drawn, where that is not all."""
    parts = ["first three principal axes"] if network.dim > 3 else []
    if network.dipole_dim > network.dim:
        count = {1: "first", 2: "first two", 3: "first three"}[min(network.dim, 3)]
        parts.append(f"dipoles: {count} of {network.dipole_dim} principal axes")
    elif network.dipole_dim < network.dim:
        parts.append("without dipoles")
    return f" ({'; '.join(parts)})" if parts else ""


def _principal_axes(vectors: Array, count: int) -> Array:
    """The directions of most spread of vectors [N, d] about 0, [d, count]."""
    return np.linalg.eigh(vectors.T @ vectors)[1][:, : -count - 1 : -1]


def _dipoles(network: ParticleNetwork) -> list[Array]:
    return [to_numpy(network.dipoles(index)).astype(np.float64) for index in range(len(network.particles))]


def arrow_length(positions: list[Array]) -> float:
    """How long a dipole of length 1 is drawn, in units of the positions: many arrows are short."""
    return 0.3 if sum(map(len, positions)) <= 300 else 0.2


def arrow_ends(positions: list[Array], dipoles: list[Array | None]) -> list[Array]:
    """All points that must be seen: where arrows begin, and where they end."""
    length = arrow_length(positions)
    heads = [r + length * v for r, v in zip(positions, dipoles, strict=True) if v is not None]
    return [*positions, *heads]


def _node_set_labels(network: ParticleNetwork) -> list[str]:
    if not network.shared:
        return [f"layer {layer.index} {side}" for layer in network.connections for side in ("inputs", "outputs")]
    last = len(network.sizes) - 1
    hidden = ["hidden"] if last == 2 else [f"hidden {index}" for index in range(1, last)]
    return ["inputs", *hidden, "outputs"]


def evenly(count: int, most: int) -> Array:
    """At most ``most`` indices below ``count``, evenly spaced."""
    return np.arange(count) if count <= most else np.linspace(0, count - 1, most).round().astype(np.int64)
