"""What a user asks of training, checked."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pn_gpu.checks import check_flag, check_integer
from pn_gpu.model.examples import as_inputs, as_targets
from pn_gpu.model.model import Model
from pn_gpu.training.batches import make_batches
from pn_gpu.training.callbacks import as_callbacks
from pn_gpu.training.checkpoint import restore_checkpoint
from pn_gpu.training.distributed import SingleProcess
from pn_gpu.training.history import History
from pn_gpu.training.loop import train
from pn_gpu.training.optimizers import Adam, Optimizer
from pn_gpu.training.penalties import Penalty
from pn_gpu.training.run import TrainingRun
from pn_gpu.training.schedules import OneCycle

Array = Any


def fit(
    network: Model,
    x: Any,
    y: Array | None = None,
    *,
    epochs: int = 10,
    batch_size: int = 100,
    optimizer: Optimizer | None = None,
    validation_data: tuple[Array, Array] | None = None,
    shuffle: bool = True,
    seed: int | None = None,
    penalties: Sequence[Penalty] = (),
    remove_mean_translation: bool = True,
    remove_mean_rotation: bool = False,
    callbacks: Sequence[Any] = (),
    checkpoint: str | os.PathLike[str] | None = None,
    checkpoint_every: int = 1,
    resume: bool = False,
    progress: bool | None = None,
    processes: SingleProcess | None = None,
) -> History:
    """Train a network.

    A `ParticleNetwork` with scaled initialisation whose parameters are still those drawn is first calibrated
    (`ParticleNetwork.calibrate`) on the first batch; where this cannot tell (one row, or all the same) it starts as its
    formula says. Its dipoles move in proportion to their size at the start of the run. A resumed run is not calibrated
    again.

    Ctrl-C ends training after the step at hand: the history says "interrupted", the network keeps what it has learnt
    and the last checkpoint stays as it is.

    Parameters
    ----------
    network : Network
    x : array [B, N], or an iterable of (x, y) batches
        An iterable is gone through once every epoch.
    y : array, optional
        Labels [B] (whole numbers from 0) or targets [B, M]; None with an iterable.
    epochs : int, default 10
        Epochs of the whole run, those before a resume included.
    batch_size : int, default 100
    optimizer : Optimizer, default Adam(OneCycle(0.02))
    validation_data : (x, y), optional
        Evaluated after every epoch.
    shuffle : bool, default True
        Whether examples come in a new order every epoch.
    seed : int or None, default None
        Of shuffling and dropout. One seed gives the same run bit for bit on one machine; None draws a fresh one.
    penalties : sequence of Penalty, default ()
        Terms added to the loss; the recorded loss does not count them.
    remove_mean_translation, remove_mean_rotation : bool, default True and False
        Take out of the gradient what would only move, or turn, all particles together (the paper does the first).
    callbacks : sequence of Callback or function, default ()
    checkpoint : path, optional
        A file written after every ``checkpoint_every`` epochs and at the end, whole or not at all.
    checkpoint_every : int, default 1
    resume : bool, default False
        Continue the run in ``checkpoint`` exactly, if the file exists; else start afresh.
    progress : bool or None, default None
        Whether to show a bar; None shows it on a terminal.
    processes : SingleProcess, optional
        For data-parallel training: what `pn_gpu.training.distributed` found.

    Returns
    -------
    History

    Raises
    ------
    ValueError, TypeError
        If data or settings do not fit.
    TrainingDiverged
        If the loss becomes NaN or infinite; the network is back where its last good epoch left it.
    """
    check_integer("epochs", epochs, low=1)
    check_integer("batch_size", batch_size, low=1)
    check_integer("checkpoint_every", checkpoint_every, low=1)
    if check_flag("resume", resume) and checkpoint is None:
        raise ValueError("resume: got True without a checkpoint; want the file to resume from")
    if optimizer is None:
        optimizer = Adam(OneCycle(0.02))
    if not isinstance(optimizer, Optimizer):
        raise TypeError(f"optimizer: got {optimizer!r}, want an Optimizer such as Adam(lr=0.02)")
    for penalty in penalties:
        if not isinstance(penalty, Penalty):
            raise TypeError(f"penalties: got {penalty!r}, want Penalty objects such as L2(dipoles=1e-4)")
    processes = processes or SingleProcess()
    run = TrainingRun(
        network,
        make_batches(network, x, y, batch_size, check_flag("shuffle", shuffle), processes.rank, processes.size),
        optimizer=optimizer,
        epochs=epochs,
        batch_size=batch_size,
        rng=np.random.default_rng(None if seed is None else check_integer("seed", seed, low=0)),
        validation=_check_validation(network, validation_data),
        penalties=penalties,
        remove_mean_translation=check_flag("remove_mean_translation", remove_mean_translation),
        remove_mean_rotation=check_flag("remove_mean_rotation", remove_mean_rotation),
        callbacks=as_callbacks(callbacks),
        processes=processes,
    )
    if resume and checkpoint is not None and Path(checkpoint).exists():
        restore_checkpoint(run, checkpoint)
    train(run, progress, None if processes.rank else checkpoint, checkpoint_every)
    return run.history


def _check_validation(network: Model, data: Any) -> tuple[Array, Array] | None:
    if data is None:
        return None
    if not isinstance(data, tuple | list) or len(data) != 2:
        raise TypeError(f"validation_data: got {type(data).__name__}, want a pair (x, y)")
    try:
        x = as_inputs(data[0], network)
        y = as_targets(data[1], x.shape[0], network)
    except (TypeError, ValueError) as error:
        raise type(error)(f"validation_data: {error}") from error
    if x.shape[0] == 0:
        raise ValueError("validation_data: got no examples, want at least one")
    return x, y
