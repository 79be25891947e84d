"""Particles moving through training, as a GIF (matplotlib and Pillow, the extra ``plot``)."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import numpy as np

from pn_gpu.backends import to_numpy
from pn_gpu.checks import check_integer
from pn_gpu.files import replacing
from pn_gpu.networks.particle_network import ParticleNetwork
from pn_gpu.particle_view import ParticleView, arrow_ends
from pn_gpu.training.callbacks import Callback

try:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator, NullFormatter
    from PIL import Image
except ImportError as error:
    raise ImportError("animations need matplotlib, which is not installed; want: pip install 'pn-gpu[plot]'") from error

if TYPE_CHECKING:
    from pn_gpu.training.run import TrainingRun

Array = np.ndarray[Any, np.dtype[Any]]

# Arrows of more particles than this make frames that are slow to draw and hard to read.
MAX_PARTICLES = 300

DPI = 80
LAST_FRAME_MILLISECONDS = 1500

# The part of its length that is left of an axis in the picture.
SEEN_END_ON = 0.4


class ParticleRecorder(Callback):
    """Keeps a network's parameters as they were before training and after every so many epochs.

    A resumed run goes on recording.

    Parameters
    ----------
    every : int, default 1
        Epochs between two frames.

    Attributes
    ----------
    frames : list of array, [P]
        Parameter vectors.
    epochs : list of int
        After how many epochs each was taken.
    """

    def __init__(self, every: int = 1) -> None:
        self.every = check_integer("every", every, low=1)
        self.frames: list[Array] = []
        self.epochs: list[int] = []
        self._network: ParticleNetwork | None = None

    def on_train_begin(self, run: TrainingRun) -> None:
        if not isinstance(run.network, ParticleNetwork):
            raise TypeError(
                f"network: got a {type(run.network).__name__}, want a ParticleNetwork to record particles of"
            )
        self._network = run.network
        if run.epoch == 0:
            self.frames, self.epochs = [], []
            self._take(run)

    def on_epoch_end(self, run: TrainingRun) -> None:
        if run.epoch % self.every == 0:
            self._take(run)

    def _take(self, run: TrainingRun) -> None:
        self.frames.append(to_numpy(run.network.parameters.flat).copy())
        self.epochs.append(run.epoch)

    def state(self) -> dict[str, Any]:
        return {"epochs": self.epochs, "frames": np.stack(self.frames)} if self.frames else {"epochs": []}

    def set_state(self, state: dict[str, Any]) -> None:
        self.epochs, self.frames = list(state["epochs"]), list(state.get("frames", ()))

    def save(self, path: str | os.PathLike[str], frames_per_second: int = 10) -> None:
        """Write the animation as a GIF, whole or not at all.

        For n > 3 the principal axes are those of the last frame. Of a node set with more than 300 particles, evenly
        chosen ones are shown; in three dimensions the view turns slowly.

        Parameters
        ----------
        path : path
            Ends in .gif.
        frames_per_second : int, default 10

        Raises
        ------
        ValueError
            If the suffix is another, or nothing was recorded.
        """
        check_animation(path)
        check_integer("frames_per_second", frames_per_second, low=1)
        if self._network is None or not self.frames:
            raise ValueError("recorder: nothing was recorded; want it among the callbacks of fit")
        view, drawn = self._project()
        figure = Figure(figsize=(6, 5.6), dpi=DPI)
        canvas = FigureCanvasAgg(figure)
        ax = view.make_axes(figure)
        low, high = _bounds([ends for positions, dipoles in drawn for ends in arrow_ends(positions, dipoles)])
        images = []
        for index, (positions, dipoles) in enumerate(drawn):
            ax.clear()
            view.draw(ax, positions, dipoles)
            _hold_still(ax, low, high, index)
            ax.set_title(f"epoch {self.epochs[index]}")
            canvas.draw()
            pixels = np.asarray(canvas.buffer_rgba())[..., :3]  # [H, W, 3]
            images.append(Image.fromarray(pixels.copy()))
        milliseconds = [1000 // frames_per_second] * (len(images) - 1) + [LAST_FRAME_MILLISECONDS]
        with replacing(path) as temporary:
            images[0].save(
                temporary, format="GIF", save_all=True, append_images=images[1:], duration=milliseconds, loop=0
            )

    def _project(self) -> tuple[ParticleView, list[tuple[list[Array], list[Array | None]]]]:
        """The view and, for every frame, what is drawn."""
        assert self._network is not None
        network = self._network.to("numpy")
        network.parameters.flat = self.frames[-1]
        view = ParticleView(network, MAX_PARTICLES)
        drawn = []
        for frame in self.frames:
            network.parameters.flat = frame
            drawn.append(view.project(network))
        return view, drawn


def check_animation(path: str | os.PathLike[str]) -> None:
    """ValueError unless ``path`` ends in .gif."""
    if os.path.splitext(path)[1].lower() != ".gif":
        raise ValueError(f"{path}: want a file that ends in .gif")


def _bounds(positions: list[Array]) -> tuple[Array, Array]:
    """The corners of a box that holds nearly all points of all frames: strays shall not shrink the rest."""
    everything = np.concatenate(positions)
    low, high = np.quantile(everything, 0.001, axis=0), np.quantile(everything, 0.999, axis=0)
    margin = 0.1 * (high - low) + 0.1
    return low - margin, high + margin


def _hold_still(ax: Any, low: Array, high: Array, index: int) -> None:
    """The same section in every frame."""
    if len(low) == 2:
        ax.set_aspect("equal", adjustable="box")  # the limits stay, the axes take their shape
    ax.set_xlim(low[0], high[0])
    if len(low) >= 2:
        ax.set_ylim(low[1], high[1])
    if len(low) >= 3:
        ax.set_zlim(low[2], high[2])
        azimuth = -60 + 1.2 * index
        ax.view_init(elev=22, azim=azimuth)
        _thin_out_ticks(ax, np.deg2rad(azimuth))


def _thin_out_ticks(ax: Any, azimuth: float) -> None:
    """Few ticks, and no labels on an axis that is seen nearly end on, where they would lie on each other."""
    for axis, seen in ((ax.xaxis, abs(np.sin(azimuth))), (ax.yaxis, abs(np.cos(azimuth))), (ax.zaxis, 1.0)):
        axis.set_major_locator(MaxNLocator(4))
        axis.set_tick_params(labelsize=8)
        if seen < SEEN_END_ON:
            axis.set_major_formatter(NullFormatter())
