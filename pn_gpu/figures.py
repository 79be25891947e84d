"""Figures: made, and saved whole or not at all."""

from __future__ import annotations

import os
from typing import Any

from pn_gpu.files import replacing

try:
    from matplotlib.figure import Figure
except ImportError as error:
    raise ImportError("pictures need matplotlib, which is not installed; want: pip install 'pn-gpu[plot]'") from error

Axes = Any
Path_ = str | os.PathLike[str]

DPI = 130


def new_figure(size: tuple[float, float]) -> Any:
    """A figure that pyplot knows, so that scripts and notebooks show it; ``size`` in inches."""
    import matplotlib.pyplot as plt

    return plt.figure(figsize=size, layout="constrained")


def finish(ax: Axes, path: Path_ | None) -> Axes:
    """``ax``, whose figure is saved to ``path`` if there is one."""
    save(ax.figure, path)
    return ax


def save(figure: Any, path: Path_ | None) -> Any:
    """``figure``, saved to ``path`` if there is one."""
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
