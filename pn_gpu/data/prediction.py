"""Predictions for data as they are, in the data's own words and units."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from pn_gpu.backends import to_numpy
from pn_gpu.data.arrays import Array
from pn_gpu.data.containers import TableOptions
from pn_gpu.data.input_fitting import plain_coding
from pn_gpu.data.preprocessing import Preprocessing
from pn_gpu.data.sources import read_inputs
from pn_gpu.data.target_coding import Classes, Numbers

if TYPE_CHECKING:
    from pn_gpu.networks.network import Network


def predict(
    network: Network,
    source: str | os.PathLike[str] | Array,
    *,
    proba: bool = False,
    header: bool | None = None,
    decimal: str | None = None,
    drop: Sequence[str | int] = (),
) -> Array:
    """What a network says of data as they are, whatever was done to the data that it was trained on.

    ``network.predict`` takes inputs that are prepared; this prepares them by ``network.preprocessing``, which lies in
    the files that `pn-gpu train` writes.

    Parameters
    ----------
    network : Network
    source : path, or array [B, ...]
        As `load_inputs` takes it, or numbers in the columns of the training.
    proba : bool, default False
        Whether to give the outputs [B, M] (probabilities, of classes in the order of
        ``network.preprocessing.targets.labels``) instead of labels.
    header, decimal, drop
        As in `load_table`, for a table.

    Returns
    -------
    array
        Labels [B] in their own words, or values [B, K] in the units of the targets.

    Raises
    ------
    FileNotFoundError, ImportError, TypeError, ValueError
        As `load_inputs`.
    """
    if isinstance(source, str | os.PathLike):
        x, _ = read_inputs(source, TableOptions(header, decimal, tuple(drop)), network.preprocessing)
    else:
        values = np.asarray(source)
        x = preprocessing_of(network).inputs.encode("source", values)
    return predict_prepared(network, x, proba)


def preprocessing_of(network: Network) -> Preprocessing:
    """What was done to a network's data; if it does not say, bytes are pixels, and numbers and labels as they are."""
    if network.preprocessing is not None:
        return network.preprocessing
    width, outputs = network.sizes[0], network.sizes[-1]
    classes = Classes(tuple(range(outputs)))
    numbers = Numbers(np.zeros(outputs), np.ones(outputs))
    return Preprocessing(plain_coding(width), classes if network.has_classes else numbers)


def predict_prepared(network: Network, x: Array, proba: bool = False) -> Array:
    """The same for inputs [B, N] that are prepared already."""
    targets = None if network.preprocessing is None else network.preprocessing.targets
    if not proba:
        result = to_numpy(network.predict(x))
        return result if targets is None else targets.decode(result)
    outputs = to_numpy(network.predict_proba(x))
    return targets.decode(outputs) if isinstance(targets, Numbers) else outputs
