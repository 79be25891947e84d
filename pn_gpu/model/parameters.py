"""All parameters of a network as one flat vector with named views."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from pn_gpu.backends import to_numpy
from pn_gpu.kernels.namespace import namespace_of

Array = Any


@dataclass(frozen=True)
class Slot:
    """Where one parameter lies in the vector."""

    start: int
    shape: tuple[int, ...]

    @property
    def stop(self) -> int:
        return self.start + math.prod(self.shape)


class Layout:
    """Names and shapes of parameters, in their order in the vector.

    Names have the form ``particles.0.positions`` or ``layers.1.bias``.
    """

    def __init__(self, shapes: Mapping[str, tuple[int, ...]]) -> None:
        self.slots: dict[str, Slot] = {}
        self.size = 0
        for name, shape in shapes.items():
            self.slots[name] = Slot(self.size, tuple(shape))
            self.size += math.prod(shape)

    def __iter__(self) -> Iterator[str]:
        return iter(self.slots)

    def group_names(self, prefix: str) -> list[str]:
        """The parameters of one group: ``positions``, ``dipoles`` for ``particles.0``."""
        return [name.removeprefix(prefix + ".") for name in self.slots if name.startswith(prefix + ".")]

    def count_groups(self, kind: str) -> int:
        """How many groups ``kind.0``, ``kind.1``, ... there are."""
        return len({name.split(".")[1] for name in self.slots if name.startswith(kind + ".")})


class ParameterVector:
    """A flat vector and its named parts, and fixed numbers beside it.

    ``vector["layers.0.bias"]``, ``vector.layers[0].bias`` and a slice of ``vector.flat`` are the same numbers.
    Gradients are vectors of the same layout.

    Parameters
    ----------
    layout : Layout
    flat : array, [P]
    fixed : mapping of str to array, optional
        What is read by name like a parameter and is none: no part of ``flat``, of gradients, or of an iteration.
    """

    def __init__(self, layout: Layout, flat: Array, fixed: Mapping[str, Array] | None = None) -> None:
        self.layout = layout
        self.fixed = dict(fixed or {})
        self.flat = flat

    @property
    def flat(self) -> Array:
        """All parameters, [P]."""
        return self._flat

    @flat.setter
    def flat(self, flat: Array) -> None:
        self._flat = flat
        self._views: dict[str, Array] = {}

    def __getstate__(self) -> dict[str, Any]:
        # Copies of views would be arrays of their own.
        return {"layout": self.layout, "flat": self.flat, "fixed": self.fixed}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.layout, self.flat, self.fixed = state["layout"], state["flat"], state.get("fixed", {})

    def __contains__(self, name: object) -> bool:
        return name in self.layout.slots or name in self.fixed

    def __getitem__(self, name: str) -> Array:
        if name in self.fixed:
            return self.fixed[name]
        view = self._views.get(name)
        if view is None:
            slot = self.layout.slots[name]
            view = namespace_of(self.flat).reshape(self.flat[slot.start : slot.stop], slot.shape)
            self._views[name] = view
        return view

    def __setitem__(self, name: str, value: Array) -> None:
        shape = tuple(self.fixed[name].shape) if name in self.fixed else self.layout.slots[name].shape
        if tuple(value.shape) != shape:
            raise ValueError(f"{name}: got shape {tuple(value.shape)}, want {shape}")
        xp = namespace_of(self.flat)
        if name in self.fixed:
            self.fixed[name] = xp.astype(value, self.flat.dtype, copy=True)
            return
        slot = self.layout.slots[name]
        self.flat[slot.start : slot.stop] = xp.reshape(xp.astype(value, self.flat.dtype), (-1,))

    def __iter__(self) -> Iterator[str]:
        return iter(self.layout)

    def items(self) -> Iterator[tuple[str, Array]]:
        """Every name with its part of the vector."""
        return ((name, self[name]) for name in self.layout)

    def to_numpy(self) -> dict[str, np.ndarray[Any, Any]]:
        """Every part under its name, on the host."""
        return {name: np.ascontiguousarray(to_numpy(value)) for name, value in self.items()}

    def add(self, name: str, value: Array) -> None:
        """Add ``value`` to one part: a shared node set collects gradients from two layers."""
        view = self[name]
        view += value

    def group(self, prefix: str) -> ParameterGroup:
        """The parameters of one node set or layer, such as ``particles.0``."""
        return ParameterGroup(self, prefix)

    @property
    def particles(self) -> list[ParameterGroup]:
        """The node sets' parameters, in the order of the network."""
        return self._groups("particles")

    @property
    def layers(self) -> list[ParameterGroup]:
        """The layers' own parameters (biases; weights of a dense network)."""
        return self._groups("layers")

    def _groups(self, kind: str) -> list[ParameterGroup]:
        return [self.group(f"{kind}.{index}") for index in range(self.layout.count_groups(kind))]


class ParameterGroup:
    """The parameters of one node set or layer as attributes: ``positions``, ``dipoles``, ``bias``, ..."""

    _vector: ParameterVector
    _prefix: str

    def __init__(self, vector: ParameterVector, prefix: str) -> None:
        object.__setattr__(self, "_vector", vector)
        object.__setattr__(self, "_prefix", prefix)

    def __contains__(self, name: object) -> bool:
        return f"{self._prefix}.{name}" in self._vector

    def __getattr__(self, name: str) -> Array:
        full = f"{self._prefix}.{name}"
        if full not in self._vector:
            have = ", ".join(self.__dir__())
            raise AttributeError(f"{self._prefix} has no {name!r}; it has {have}")
        return self._vector[full]

    def __setattr__(self, name: str, value: Array) -> None:
        full = f"{self._prefix}.{name}"
        if full not in self._vector:
            raise AttributeError(f"{self._prefix} has no {name!r}")
        self._vector[full] = value

    def __dir__(self) -> list[str]:
        start = f"{self._prefix}."
        fixed = [name.removeprefix(start) for name in self._vector.fixed if name.startswith(start)]
        return fixed + self._vector.layout.group_names(self._prefix)

    def __repr__(self) -> str:
        parts = (f"{name} {list(getattr(self, name).shape)}" for name in dir(self))
        return f"{self._prefix}({', '.join(parts)})"

    def add(self, name: str, value: Array) -> None:
        """Add ``value`` to the parameter called ``name``."""
        self._vector.add(f"{self._prefix}.{name}", value)
