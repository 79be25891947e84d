"""From what a container holds to what a network is trained on."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pn_gpu.data.arrays import Array, as_rows, check_same_length, image_shape, rows_with_gaps
from pn_gpu.data.columns import Table, missing_in
from pn_gpu.data.dataset import Dataset
from pn_gpu.data.input_coding import InputCoding
from pn_gpu.data.input_fitting import fit_inputs, note_outliers
from pn_gpu.data.preprocessing import Preprocessing
from pn_gpu.data.target_coding import TargetCoding, check_targets, fit_targets, has_target

Inputs = Array | Table


@dataclass(frozen=True)
class Part:
    """Inputs and targets of a container, with what a message calls them."""

    x_name: str
    x: Inputs
    y_name: str
    y: Array


@dataclass(frozen=True)
class Wishes:
    """What shall be done to inputs and targets; see `load_table`.

    With ``preprocessing``, that of a trained network, the same is done again and the other wishes do not count.
    """

    task: str | None = None
    scale: str = "auto"
    missing: str = "mean"
    preprocessing: Preprocessing | None = None


def prepare_split(
    name: str, part: Part, wishes: Wishes, test_fraction: float, seed: int, target_column: str | int | None = None
) -> Dataset:
    """A container of one part, of which a random share becomes the test part."""
    notes = list(part.x.notes) if isinstance(part.x, Table) else []
    part = _with_known_targets(_checked(part), wishes, notes)
    if len(part.y) < 2:
        raise ValueError(f"{part.x_name}: got {len(part.y)} sample, want at least 2: one to train and one to test on")
    train, test = _split(len(part.y), test_fraction, seed)
    inputs, targets, sentence = _codings(part, train, wishes, notes)
    x, y = inputs.encode(part.x_name, part.x, notes), targets.encode(part.y_name, part.y)
    return Dataset(
        name,
        x[train],
        y[train],
        x[test],
        y[test],
        Preprocessing(inputs, targets, target_column),
        _shape(part),
        sentence,
        tuple(notes),
    )


def prepare_parts(name: str, train: Part, test: Part, wishes: Wishes) -> Dataset:
    """A container that has a test part of its own."""
    notes: list[str] = []
    train, test = (_with_known_targets(_checked(part), wishes, notes) for part in (train, test))
    if train.y.shape[1:] != test.y.shape[1:]:
        raise ValueError(
            f"{test.y_name}: got shape {test.y.shape}, want the columns of {train.y_name}, {train.y.shape}"
        )
    both = Part(train.x_name, train.x, f"{train.y_name} and {test.y_name}", np.concatenate([train.y, test.y]))
    inputs, targets, sentence = _codings(both, slice(len(train.y)), wishes, notes)
    encoded = [
        (inputs.encode(part.x_name, part.x, notes), targets.encode(part.y_name, part.y)) for part in (train, test)
    ]
    return Dataset(
        name, *encoded[0], *encoded[1], Preprocessing(inputs, targets), _shape(train), sentence, tuple(notes)
    )


def check_same_samples(train: Part, test: Part) -> None:
    """A ValueError unless samples have one shape in both parts."""
    shapes = [part.x.shape[1:] for part in (train, test) if not isinstance(part.x, Table)]
    if shapes[0] != shapes[1]:
        raise ValueError(f"{test.x_name}: got samples of shape {shapes[1]}, want {shapes[0]} as in {train.x_name}")


def _codings(
    part: Part, training: Array | slice, wishes: Wishes, notes: list[str]
) -> tuple[InputCoding, TargetCoding, str]:
    if wishes.preprocessing is not None:
        return wishes.preprocessing.inputs, wishes.preprocessing.targets, ""
    targets, sentence = fit_targets(part.y_name, part.y, training, wishes.task, wishes.scale != "none")
    inputs = fit_inputs(part.x, training, wishes.scale, wishes.missing)
    notes += note_outliers(part.x, training, inputs)
    return inputs, targets, sentence


def _checked(part: Part) -> Part:
    y = check_targets(part.y_name, part.y)
    check_same_length(part.x_name, part.x, part.y_name, y)
    if not isinstance(part.x, Table):
        as_rows(part.x_name, part.x)
    return Part(part.x_name, part.x, part.y_name, y)


def _with_known_targets(part: Part, wishes: Wishes, notes: list[str]) -> Part:
    """Without the rows whose target is missing and, where that is wished, those with a missing input."""
    known = has_target(part.y)
    if not known.all():
        notes.append(f"{int((~known).sum())} rows without a target are left out")
    missing = wishes.missing if wishes.preprocessing is None else wishes.preprocessing.inputs.missing
    if missing == "drop":
        whole = ~_rows_with_gaps(part.x)
        if not (whole | ~known).all():
            notes.append(f"{int((known & ~whole).sum())} rows with missing values are left out")
        known = known & whole
    if known.all():
        return part
    if not known.any():
        raise ValueError(f"{part.x_name}: no row is whole, want at least 2")
    rows = np.flatnonzero(known)
    x = part.x.take(rows) if isinstance(part.x, Table) else part.x[rows]
    return Part(part.x_name, x, part.y_name, part.y[rows])


def _rows_with_gaps(x: Inputs) -> Array:
    if isinstance(x, Table):
        return np.logical_or.reduce([missing_in(column) for column in x.columns])
    return rows_with_gaps(x.reshape(len(x), -1))


def _shape(part: Part) -> tuple[int, ...] | None:
    return None if isinstance(part.x, Table) else image_shape(part.x)


def _split(num_samples: int, test_fraction: float, seed: int) -> tuple[Array, Array]:
    """Row numbers for training and for testing, at least one each."""
    num_test = min(max(round(num_samples * test_fraction), 1), num_samples - 1)
    order = np.random.default_rng(seed).permutation(num_samples)
    return np.sort(order[num_test:]), np.sort(order[:num_test])
