"""The networks of `bench sensors`: their search, their training, and what each makes of other sensors."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product
from typing import Any, NamedTuple

import numpy as np

import pn_gpu as pn
from bench.equal_parameters_data import Split
from bench.sensors_fields import SHAPES, Change, home, readings

Array = np.ndarray[Any, Any]

HIDDEN, BATCH_SIZE = 128, 100
DIPOLE_DIM = {"mnist": 4, "mnist1d": 8}
NETWORKS = ("particles", "dense")


class Setting(NamedTuple):
    """What the search decides: peak rate, decay of the weights (dense), half the box of sensors (particles)."""

    rate: float
    decay: float
    half_width: float


# As many for either network.
SETTINGS = {
    "particles": [Setting(rate, 0.0, half) for rate, half in product((0.01, 0.02), (2.0, 3.0, 4.0))],
    "dense": [Setting(rate, decay, 0.0) for rate, decay in product((0.001, 0.003, 0.01), (0.0, 0.3))],
}


def scale(data: str, setting: Setting) -> float:
    """Length of a spacing of the grid in the network's units."""
    return 2 * setting.half_width / max(SHAPES[data])


def search(kind: str, data: str, split: Split, epochs: int) -> Setting:
    """The best setting by examples held back from training."""
    part = split.for_search()
    return max(SETTINGS[kind], key=lambda setting: train(kind, data, part, setting, epochs, 0)[1])


def train(kind: str, data: str, split: Split, setting: Setting, epochs: int, seed: int) -> tuple[Any, float]:
    """A network with sensors at home, and its accuracy."""
    sizes = [split.sizes[0], HIDDEN, split.sizes[1]]
    network: Any
    if kind == "dense":
        network = pn.DenseNetwork(sizes, seed=seed, backend="numpy")
    else:
        network = pn.ParticleNetwork(
            sizes,
            positions=scale(data, setting) * home(data),
            dipole_dim=DIPOLE_DIM[data],
            shared=False,
            seed=seed,
            backend="numpy",
        )
    optimizer = pn.Adam(pn.OneCycle(setting.rate), weight_decay=setting.decay)
    network.fit(split.x_train, split.y_train, epochs=epochs, batch_size=BATCH_SIZE, optimizer=optimizer, progress=False)
    return network, network.evaluate(split.x_test, split.y_test)["accuracy"]


def accuracies(kind: str, network: Any, data: str, split: Split, setting: Setting, change: Change) -> dict[str, float]:
    """Test accuracy by rule, for those rules that can be applied to the change; nothing is trained."""
    x = readings(split, data, change.places)
    if change.kind == "kept":
        return {"": network.evaluate(x, split.y_test)["accuracy"]}
    rules = _PARTICLE_RULES if kind == "particles" else _DENSE_RULES
    found = {}
    for name, rule in rules.items():
        changed = rule(network, x, data, split, setting, change)
        if changed is not None:
            found[name] = changed[0].evaluate(changed[1], split.y_test)["accuracy"]
    return found


Rule = Callable[[Any, Array, str, Split, Setting, Change], tuple[Any, Array] | None]


def _with_inputs(interpolation: str) -> Rule:
    def rule(network: Any, x: Array, data: str, split: Split, setting: Setting, change: Change) -> tuple[Any, Array]:
        return pn.with_inputs(network, scale(data, setting) * change.places, interpolation), x

    return rule


def _copy_dipoles(
    network: Any, x: Array, data: str, split: Split, setting: Setting, change: Change
) -> tuple[Any, Array]:
    """Every new sensor takes the dipole of the nearest old one, times the area that it stands for."""
    nearest = pn.interpolation_matrix(home(data), change.places, "nearest").argmax(axis=1)
    result = pn.with_inputs(network, scale(data, setting) * change.places, "nearest")
    ratio = np.float32(len(home(data)) / len(change.places))
    result.particles[0].dipoles = ratio * network.particles[0].dipoles[nearest]
    return result, x


def _interpolate(method: str) -> Rule:
    """Readings at the old places from those at the new ones."""

    def rule(network: Any, x: Array, data: str, split: Split, setting: Setting, change: Change) -> tuple[Any, Array]:
        matrix = pn.interpolation_matrix(change.places, home(data), method)
        return network, x @ matrix.T.astype(np.float32)

    return rule


def _fill(value: Callable[[Split], Array]) -> Rule:
    """What is missing is a constant; the others are taken as if they were at home."""

    def rule(
        network: Any, x: Array, data: str, split: Split, setting: Setting, change: Change
    ) -> tuple[Any, Array] | None:
        if change.old is None:
            return None
        filled = np.tile(value(split).astype(np.float32), (len(x), 1))
        filled[:, change.old] = x
        return network, filled

    return rule


_PARTICLE_RULES: dict[str, Rule] = {
    "with_inputs, kriging": _with_inputs("kriging"),
    "with_inputs, nearest": _with_inputs("nearest"),
    "readings interpolated, kriging": _interpolate("kriging"),
    "dipoles copied from the nearest, times area": _copy_dipoles,
}
_DENSE_RULES: dict[str, Rule] = {
    "readings interpolated, kriging": _interpolate("kriging"),
    "readings interpolated, nearest": _interpolate("nearest"),
    "mean for what is missing; moves ignored": _fill(lambda split: split.x_train.mean(axis=0)),
    "0 for what is missing; moves ignored": _fill(lambda split: np.zeros(split.x_train.shape[1])),
}
