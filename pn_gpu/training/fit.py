"""What a user asks of training, checked."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import array_api_compat as compat
import numpy as np

from pn_gpu.checks import check_flag, check_integer
from pn_gpu.model.model import Model
from pn_gpu.training.batches import ArrayBatches, Batches, IterableBatches
from pn_gpu.training.callbacks import as_callbacks
from pn_gpu.training.checkpoint import restore_checkpoint
from pn_gpu.training.distributed import SingleProcess
from pn_gpu.training.graphed_steps import CudaGraph, GraphedSteps, why_not
from pn_gpu.training.history import History
from pn_gpu.training.label_smoothing import check_label_smoothing
from pn_gpu.training.loop import Step, train
from pn_gpu.training.optimizers import Adam, Optimizer
from pn_gpu.training.penalties import Penalty
from pn_gpu.training.run import Callback, TrainingRun
from pn_gpu.training.schedules import OneCycle
from pn_gpu.training.step import eager_step
from pn_gpu.training.weighted_examples import Examples, as_examples, set_aside

Array = Any


def fit(
    network: Model,
    x: Any,
    y: Array | None = None,
    *,
    epochs: int = 10,
    batch_size: int = 100,
    optimizer: Optimizer | None = None,
    validation_data: tuple[Array, ...] | None = None,
    validation_split: float | None = None,
    sample_weight: Array | None = None,
    class_weight: str | Mapping[int, float] | None = None,
    shuffle: bool = True,
    seed: int | None = None,
    penalties: Sequence[Penalty] = (),
    label_smoothing: float = 0.0,
    remove_mean_translation: bool = True,
    remove_mean_rotation: bool = False,
    callbacks: Callback | Callable[[TrainingRun], Any] | Sequence[Any] = (),
    checkpoint: str | os.PathLike[str] | None = None,
    checkpoint_every: int = 1,
    resume: bool = False,
    progress: bool | None = None,
    cuda_graph: bool | None = None,
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
        Labels [B] or [B, 1] (whole numbers from 0) or targets [B, M]; None with an iterable.
    epochs : int, default 10
        Epochs of the whole run, those before a resume included.
    batch_size : int, default 100
    optimizer : Optimizer, default Adam(OneCycle(0.02))
    validation_data : (x, y) or (x, y, sample_weight), optional
        Evaluated after every epoch.
    validation_split : float, optional
        In place of ``validation_data``: the part of the examples, 0 < part < 1, that is set aside for it. Which rows
        those are depends on their number alone, so resumed runs, and runs of several seeds, have the same.
    sample_weight : array [B], optional
        How much every example counts, at least 0. Only their ratios matter: the loss is the weighted mean.
    class_weight : "balanced" or mapping of label to weight, optional
        How much the examples of a class count, 1 where nothing is said; multiplied with ``sample_weight``. balanced:
        the classes count the same, however many examples they have.
    shuffle : bool, default True
        Whether examples come in a new order every epoch.
    seed : int or None, default None
        Of shuffling and dropout. One seed gives the same run bit for bit on one machine. None goes on from the seed of
        the network, and draws a fresh one where it has none.
    penalties : sequence of Penalty, default ()
        Terms added to the loss; the recorded loss does not count them.
    label_smoothing : float, default 0
        The part of every target, 0 <= part < 1, that is shared out evenly among the classes (Szegedy et al. 2016), with
        a cross-entropy loss: the network is not trained to be sure beyond that. The recorded training loss is that of
        the smoothed targets, those of validation and `evaluate` are not.
    remove_mean_translation, remove_mean_rotation : bool, default True and False
        Take out of the gradient what would only move, or turn, all particles together (the paper does the first).
    callbacks : Callback or function, or a sequence of them, default ()
        A function is called with the run after every epoch.
    checkpoint : path, optional
        A file written after every ``checkpoint_every`` epochs and at the end, whole or not at all. Read as a network it
        is the network as training left it: with the best parameters where `EarlyStopping` restored them. Where it
        cannot be written (a full disk) there is a RuntimeWarning, training goes on and the next epoch tries again.
    checkpoint_every : int, default 1
    resume : bool, default False
        Continue the run in ``checkpoint`` exactly, if the file exists; else start afresh. Network, data, dtype, seed
        (where given) and settings must be those of the run; epochs may be added under a constant learning rate.
    progress : bool or None, default None
        Whether to show a bar; None shows it on a terminal.
    cuda_graph : bool or None, default None
        Whether whole steps are replayed as a CUDA graph, which spares most of the host's time at each: for torch on
        CUDA (a batch and what a step allocates then stay in memory). None does so where it can, and False never. Where
        a capture fails, one RuntimeWarning says why and steps go on as without it. Not yet run on hardware: a graph
        whose first replay is not the step made eagerly is dropped.
    processes : SingleProcess, optional
        For data-parallel training: what `pn_gpu.training.distributed` found.

    Returns
    -------
    History

    Raises
    ------
    ValueError, TypeError
        If data or settings do not fit, or not those of the run to resume; with ``cuda_graph=True``, if steps cannot be
        replayed: another backend, several processes, ``remove_mean_rotation``, an optimiser with an ``update`` of its
        own, or a penalty that is not ``replayable``.
    FileExistsError
        If the checkpoint exists and is not to be resumed.
    FileNotFoundError
        If its folder does not exist.
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
        penalty.check(network)
    processes = processes or SingleProcess()
    if checkpoint is not None:
        _check_checkpoint(Path(checkpoint), resume)
    batches, validation = _make_batches(
        network,
        x,
        y,
        batch_size,
        shuffle=check_flag("shuffle", shuffle),
        validation_split=validation_split,
        sample_weight=sample_weight,
        class_weight=class_weight,
        processes=processes,
    )
    if validation_data is not None and validation is not None:
        raise ValueError("validation_split: got it beside validation_data, want one of them")
    seed = None if seed is None else check_integer("seed", seed, low=0)
    run = TrainingRun(
        network,
        batches,
        optimizer=optimizer,
        epochs=epochs,
        batch_size=batch_size,
        seed=network.seed if seed is None else seed,
        rng=network.next_generator() if seed is None else np.random.default_rng(seed),
        validation=_check_validation(network, validation_data) if validation is None else validation,
        penalties=penalties,
        label_smoothing=check_label_smoothing(label_smoothing, network),
        remove_mean_translation=check_flag("remove_mean_translation", remove_mean_translation),
        remove_mean_rotation=check_flag("remove_mean_rotation", remove_mean_rotation),
        callbacks=as_callbacks(callbacks),
        processes=processes,
    )
    step = _step(run, cuda_graph)
    if resume and checkpoint is not None and Path(checkpoint).exists():
        restore_checkpoint(run, checkpoint)
    train(run, progress, None if processes.rank else checkpoint, checkpoint_every, step)
    return run.history


def _step(run: TrainingRun, cuda_graph: bool | None) -> Step:
    """How steps are made."""
    if cuda_graph is not None:
        check_flag("cuda_graph", cuda_graph)
    reason = why_not(run)
    if cuda_graph and reason:
        raise ValueError(f"cuda_graph: got True, but steps cannot be replayed: {reason}")
    if cuda_graph is False or reason:
        return eager_step
    return GraphedSteps(partial(CudaGraph, run.network.backend.device))


def _check_checkpoint(path: Path, resume: bool) -> None:
    """Find out before the training, not after its first epoch."""
    if not path.absolute().parent.is_dir():
        raise FileNotFoundError(f"checkpoint: {path}: the folder {path.parent} does not exist")
    if path.exists() and not resume:
        raise FileExistsError(
            f"checkpoint: {path} exists, and its run would be lost; want resume=True to continue it, or another file"
        )


def _make_batches(
    network: Model,
    x: Any,
    y: Any,
    batch_size: int,
    *,
    shuffle: bool,
    validation_split: float | None,
    sample_weight: Any,
    class_weight: Any,
    processes: SingleProcess,
) -> tuple[Batches, Examples | None]:
    """Batches of arrays x and y, or of an iterable x of (x, y) pairs, and what is set aside for validation."""
    if y is None:
        return _iterable_batches(
            network,
            x,
            {"validation_split": validation_split, "sample_weight": sample_weight, "class_weight": class_weight},
            processes,
        ), None
    examples = as_examples(network, x, y, sample_weight, class_weight)
    validation = None
    if validation_split is not None:
        examples, validation = set_aside(examples, validation_split, network)
    return ArrayBatches(network, examples, batch_size, shuffle, processes.rank, processes.size), validation


def _iterable_batches(
    network: Model, x: Any, only_for_arrays: Mapping[str, Any], processes: SingleProcess
) -> IterableBatches:
    if compat.is_array_api_obj(x) or not isinstance(x, Iterable):
        raise TypeError(
            f"y: got None with x of type {type(x).__name__}; want targets, or x an iterable of (x, y) batches"
        )
    if processes.size > 1:
        raise ValueError("x: got an iterable of batches; data-parallel training wants arrays x and y")
    for name, value in only_for_arrays.items():
        if value is not None:
            raise ValueError(f"{name}: got it with an iterable of batches; want arrays x and y")
    return IterableBatches(network, x)


def _check_validation(network: Model, data: Any) -> Examples | None:
    if data is None:
        return None
    if not isinstance(data, tuple | list) or len(data) not in (2, 3):
        raise TypeError(f"validation_data: got {type(data).__name__}, want a pair (x, y), or (x, y, sample_weight)")
    try:
        return as_examples(network, *data)
    except (TypeError, ValueError) as error:
        raise type(error)(f"validation_data: {error}") from error
