"""Examples and how much each counts: sample weights, class weights, and a part set aside for validation."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from pn_gpu.backends import to_numpy
from pn_gpu.checks import check_integer, check_number
from pn_gpu.model.examples import as_inputs, as_targets
from pn_gpu.model.model import Model

Array = Any

# Rows that stand for all of them where data are compared: enough to notice other data, and cheap for any number.
FINGERPRINT_ROWS = 1024


class Examples(NamedTuple):
    """Inputs x [B, N], labels or targets y [B] or [B, M] and weights [B] of mean 1, on a network's backend."""

    x: Array
    y: Array
    weights: Array | None

    def take(self, rows: np.ndarray[Any, Any], network: Model) -> Examples:
        """Some of the rows."""
        xp, index = network.backend.xp, network.backend.asarray(rows)
        return Examples(*(None if each is None else xp.take(each, index, axis=0) for each in self))

    def fingerprint(self) -> str:
        """A hash of the shapes and of some of the rows, evenly spread."""
        count = self.x.shape[0]
        step = max(1, count // FINGERPRINT_ROWS)
        digest = hashlib.sha256(repr([None if each is None else tuple(each.shape) for each in self]).encode())
        for each in self:
            if each is not None:
                digest.update(np.ascontiguousarray(to_numpy(each[::step])).tobytes())
        return digest.hexdigest()[:16]


def as_examples(network: Model, x: Any, y: Any, sample_weight: Any = None, class_weight: Any = None) -> Examples:
    """Checked examples on the network's backend; the weights of a sample and of its class are multiplied.

    Raises
    ------
    TypeError, ValueError
        As `as_inputs` and `as_targets`; if there is no example, or the weights do not fit.
    """
    inputs = as_inputs(x, network)
    count = inputs.shape[0]
    if count == 0:
        raise ValueError("x: got no examples, want at least one")
    targets = as_targets(y, count, network)
    weights = None if sample_weight is None else check_sample_weight(sample_weight, count)
    if class_weight is not None:
        per_class = _weights_of_classes(class_weight, to_numpy(targets), network)
        weights = per_class if weights is None else weights * per_class
    return Examples(inputs, targets, None if weights is None else _of_mean_one(weights, network))


def check_sample_weight(weights: Any, count: int) -> np.ndarray[Any, Any]:
    """Weights [count], float64, finite and at least 0, not all 0; TypeError or ValueError otherwise."""
    array = np.asarray(to_numpy(weights))
    if array.dtype.kind not in "biuf":
        raise TypeError(f"sample_weight: got dtype {array.dtype}, want real numbers")
    if array.shape != (count,):
        raise ValueError(f"sample_weight: got shape {array.shape}, want [{count}], one for each example")
    array = array.astype(np.float64)
    if not np.isfinite(array).all() or array.min() < 0:
        raise ValueError("sample_weight: got values that are negative, NaN or infinite, want finite numbers >= 0")
    if not array.any():
        raise ValueError("sample_weight: got zeros only, want at least one weight above 0")
    return array


def _weights_of_classes(class_weight: Any, targets: np.ndarray[Any, Any], network: Model) -> np.ndarray[Any, Any]:
    """The weight [B] that every example's class has."""
    if not network.has_classes:
        raise ValueError("class_weight: got weights of classes, but the network has no softmax output")
    num_classes = network.sizes[-1]
    labels = targets if targets.ndim == 1 else targets.argmax(axis=1)
    if isinstance(class_weight, str) and class_weight == "balanced":
        counts = np.bincount(labels, minlength=num_classes)
        return len(labels) / (np.count_nonzero(counts) * counts[labels])
    if not isinstance(class_weight, Mapping):
        raise TypeError(f"class_weight: got {class_weight!r}, want 'balanced' or a mapping of labels to weights")
    of_class = np.ones(num_classes)
    for label, weight in class_weight.items():
        index = check_integer("class_weight: a label", label, low=0, high=num_classes - 1)
        of_class[index] = check_number(f"class_weight[{label}]", weight, low=0)
    if not of_class[labels].any():
        raise ValueError("class_weight: every example has weight 0, want at least one above 0")
    return of_class[labels]


def _of_mean_one(weights: np.ndarray[Any, Any], network: Model) -> Array:
    if not weights.any():
        raise ValueError("sample_weight: with class_weight every example has weight 0, want at least one above 0")
    return network.backend.asarray((weights / weights.mean()).astype(network.dtype))


def set_aside(examples: Examples, part: Any, network: Model) -> tuple[Examples, Examples]:
    """Examples to train with, and a ``part`` of them for validation: the same rows whatever the seed of the run.

    So a resumed run has the validation examples it had before, and runs of several seeds can be compared.
    """
    fraction = check_number("validation_split", part, low=0, high=1, low_open=True, high_open=True)
    count = examples.x.shape[0]
    num_validation = round(fraction * count)
    if not 0 < num_validation < count:
        raise ValueError(f"validation_split: got {fraction:g} of {count} examples, want at least one on either side")
    order = np.random.default_rng(0).permutation(count)
    train, validation = np.sort(order[num_validation:]), np.sort(order[:num_validation])
    return _reweighted(examples.take(train, network), network), _reweighted(examples.take(validation, network), network)


def _reweighted(examples: Examples, network: Model) -> Examples:
    if examples.weights is None:
        return examples
    return examples._replace(weights=_of_mean_one(to_numpy(examples.weights).astype(np.float64), network))
