"""The files that `pn-gpu train` writes: checked before the training, saved after it whatever happens."""

from __future__ import annotations

import argparse
import itertools
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from pn_gpu.backends import to_numpy
from pn_gpu.cli.report import print_saved, print_tail
from pn_gpu.data import Dataset
from pn_gpu.files import check_writable
from pn_gpu.networks.network import Network
from pn_gpu.training.history import History

if TYPE_CHECKING:
    from pn_gpu.animation import ParticleRecorder

FILES = ("output", "checkpoint", "history", "plot", "animate")


def check_files(options: argparse.Namespace) -> None:
    """Find out before the training, not after it, whether its files can be written, and what they would overwrite.

    Raises
    ------
    ValueError
        If two are one file, or a checkpoint is there that is not to be resumed.
    OSError
        If one cannot be written.
    """
    seen: dict[Path, str] = {}
    for name in FILES:
        path = getattr(options, name)
        if path is None:
            continue
        check_writable(path)
        other = seen.setdefault(path.resolve(), name)
        is_device = path.exists() and not path.is_file()
        if other != name and not is_device:
            raise ValueError(f"--{name}: got {path}, want another file than that of --{other}")
    if options.checkpoint is not None and options.checkpoint.exists() and not options.resume:
        raise ValueError(
            f"--checkpoint: {options.checkpoint} holds a run already; want --resume to go on with it, or another file"
        )


def check_pictures(options: argparse.Namespace) -> ParticleRecorder | None:
    """Find out before the training whether its pictures can be made; what records the animation, if one is wanted."""
    if options.plot is not None:
        from pn_gpu.plot import check_picture

        check_picture(options.plot)
    if options.animate is None:
        return None
    from pn_gpu.animation import ParticleRecorder, check_animation

    check_animation(options.animate)
    return ParticleRecorder()


def save_files(
    options: argparse.Namespace,
    dataset: Dataset,
    network: Network,
    history: History,
    recorder: ParticleRecorder | None,
) -> bool:
    """Save the network first, then all else; whether the network is where it should be."""
    saved_to = _save_network(network, options.output)
    print_tail(dataset, network, history)
    print_saved(saved_to)
    if options.history is not None:
        history.save(options.history)
    if options.plot is not None and history.num_epochs:
        from pn_gpu import plot

        result = dataset.preprocessing.targets, dataset.y_test, to_numpy(network.predict(dataset.x_test))
        plot.summary(network, history, options.plot, test=result)
        print_saved(options.plot)
    if recorder is not None:
        recorder.save(options.animate)
        print_saved(options.animate)
    return saved_to == options.output


def _save_network(network: Network, output: Path) -> Path:
    """Save to ``output`` or, should that have become impossible, beside it or in the folder for temporary files."""
    try:
        network.save(output)
    except OSError as error:
        for path in _other_paths(output):
            try:
                network.save(path)
            except OSError:
                continue
            print(f"pn-gpu: error: {output} could not be written ({error}); the network is in {path}", file=sys.stderr)
            return path
        raise
    return output


def _other_paths(output: Path) -> Iterator[Path]:
    for folder in (output.parent, Path.cwd(), Path(tempfile.gettempdir())):
        names = (f"{output.stem}-{number}{output.suffix}" for number in itertools.count(1))
        yield next(folder / name for name in names if not (folder / name).exists())
