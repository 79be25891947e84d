"""Inputs and targets of a network: what is accepted, and in which form a batch is computed with."""

from __future__ import annotations

from typing import Any

import array_api_compat as compat
import numpy as np

from pn_gpu.backends import to_numpy
from pn_gpu.kernels.namespace import namespace_of
from pn_gpu.model.model import Model

Array = Any

# How far from 1 a row of shares may sum: they come rounded, from other networks among others.
SHARE_TOLERANCE = 1e-3


def as_inputs(x: Array, network: Model) -> Array:
    """``x`` checked, [B, N] on the network's backend and in its dtype; raises as `check_inputs`."""
    return network.backend.asarray(check_inputs(x, network.sizes[0], network.dtype), network.dtype)


def as_targets(y: Array, count: int, network: Model) -> Array:
    """``y`` checked, labels [B] or targets [B, M] on the network's backend; raises as `check_targets`."""
    return network.backend.asarray(check_targets(y, count, network))


def check_inputs(x: Array, width: int, dtype: str) -> Array:
    """``x`` as a finite array [B, width] that converts to ``dtype``; lists and integers are converted here.

    Raises
    ------
    TypeError
        If it holds no numbers.
    ValueError
        If it is not two-dimensional, of another width, or not finite.
    """
    x = _as_array("x", x)
    if x.ndim != 2 or x.shape[1] != width:
        raise ValueError(f"x: got shape {tuple(x.shape)}, want [examples, {width}], the network's number of inputs")
    return _as_finite("x", x, getattr(namespace_of(x), dtype))


def check_targets(y: Array, count: int, network: Model) -> Array:
    """``y`` as labels [B] (int64) or targets [B, M] (the network's dtype) that fit the network's loss.

    Labels may come as a column [B, 1].

    Raises
    ------
    TypeError
        If it holds no numbers.
    ValueError
        If its shape, its range or its length do not fit.
    """
    y = _as_array("y", y)
    width = network.sizes[-1]
    if y.ndim == 0 or y.shape[0] != count:
        raise ValueError(f"y: got shape {tuple(y.shape)}, want {count} examples, as many as x has")
    xp = namespace_of(y)
    if network.has_classes and y.ndim == 2 and y.shape[1] == 1 < width:
        y = y[:, 0]
    if y.ndim == 1 and network.has_classes:
        _check_finite("y", y)
        return _check_labels(y, width)
    if y.ndim == 1 and width == 1:
        y = y[:, None]
    if y.ndim != 2 or y.shape[1] != width:
        form = f"labels [{count}] or targets" if network.has_classes else "targets"
        raise ValueError(f"y: got shape {tuple(y.shape)}, want {form} [{count}, {width}]")
    y = _as_finite("y", y, getattr(xp, network.dtype))
    if network.is_classifier and count and not (bool(xp.min(y) >= 0) and bool(xp.max(y) <= 1)):
        raise ValueError(f"y: got values from {float(xp.min(y))} to {float(xp.max(y))}, want 0 to 1")
    if network.has_classes and count:
        _check_shares(y)
    return y


def _check_shares(y: Array) -> None:
    """A row of targets for a softmax says how an example is shared among the classes, as its outputs do."""
    xp = namespace_of(y)
    sums = xp.sum(y, axis=1)
    errors = xp.abs(sums - 1)
    if bool(xp.any(errors > SHARE_TOLERANCE)):
        row = int(xp.argmax(errors))
        raise ValueError(
            f"y: got a row that sums to {float(sums[row]):.4g} (row {row}), want rows of shares that sum to 1;"
            " output='sigmoid' takes several classes at once"
        )


def _check_labels(y: Array, num_classes: int) -> Array:
    xp = namespace_of(y)
    labels = y if xp.isdtype(y.dtype, "integral") else xp.astype(y, xp.int64)
    if labels is not y and not bool(xp.all(xp.astype(labels, y.dtype) == y)):
        raise ValueError("y: got labels that are no whole numbers, want 0 to " + str(num_classes - 1))
    if y.shape[0] and not (int(xp.min(labels)) >= 0 and int(xp.max(labels)) < num_classes):
        raise ValueError(
            f"y: got labels from {int(xp.min(labels))} to {int(xp.max(labels))}, want 0 to {num_classes - 1},"
            f" one for each of the network's {num_classes} outputs"
        )
    return xp.astype(labels, xp.int64)


def as_batch_targets(targets: Array, network: Model) -> Array:
    """Checked labels [B] as one-hot rows [B, M]; targets [B, M] as they are."""
    if targets.ndim == 2:
        return targets
    xp = namespace_of(targets)
    classes = xp.arange(network.sizes[-1], dtype=targets.dtype, device=compat.device(targets))
    return xp.astype(targets[:, None] == classes[None, :], network.backend.dtype(network.dtype))


def batch_slices(count: int, size: int) -> list[slice]:
    """Slices of at most ``size`` that cover ``range(count)`` exactly."""
    return [slice(start, min(start + size, count)) for start in range(0, count, size)]


def _as_array(name: str, a: Array) -> Array:
    if not compat.is_array_api_obj(a):
        try:
            a = np.asarray(a)
        except ValueError as error:
            raise ValueError(f"{name}: got a ragged or mixed sequence ({error}), want an array") from error
    xp = namespace_of(a)
    if isinstance(a, np.ndarray) and a.dtype.kind not in "biuf":
        raise TypeError(f"{name}: got dtype {a.dtype}, want real numbers")
    if xp.isdtype(a.dtype, "complex floating"):
        raise TypeError(f"{name}: got dtype {a.dtype}, want real numbers")
    return xp.astype(a, xp.uint8) if xp.isdtype(a.dtype, "bool") else a


def _as_finite(name: str, a: Array, dtype: Any) -> Array:
    """``a`` in the dtype; a ValueError if it holds NaN or infinity, or numbers that become infinite there."""
    _check_finite(name, a)
    if a.dtype == dtype:
        return a
    xp = namespace_of(a)
    with np.errstate(over="ignore"):
        converted = xp.astype(a, dtype)
    if not bool(xp.all(xp.isfinite(converted))):
        where = np.argwhere(~np.isfinite(to_numpy(converted)))[0]
        value = to_numpy(a)[tuple(where)]
        wanted = str(converted.dtype).rpartition(".")[2]
        raise ValueError(f"{name}: got {value} at {where.tolist()}, too large for {wanted}")
    return converted


def _check_finite(name: str, a: Array) -> None:
    xp = namespace_of(a)
    if not xp.isdtype(a.dtype, "real floating") or bool(xp.all(xp.isfinite(a))):
        return
    bad = ~np.isfinite(to_numpy(a))
    where = np.argwhere(bad)[0]
    raise ValueError(
        f"{name}: got {int(bad.sum())} values that are NaN or infinite, the first at {where.tolist()};"
        " want finite numbers"
    )
