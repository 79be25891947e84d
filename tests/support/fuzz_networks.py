"""A process of its own in which the readers of networks and checkpoints meet damaged files, under a limit of memory.

`python fuzz_networks.py EXAMPLES FOLDER` ends with a traceback if a reader raises anything but a ValueError that names
the file, warns, changes the network it was to restore, or wants more memory than small files hold.
"""

from __future__ import annotations

import json
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
from hypothesis import strategies as st
from safetensors.numpy import load_file, save

import pn_gpu as pn
from pn_gpu.storage import METADATA_KEY
from support.fuzzing import damaged_bytes, limit_memory, meet

X, Y = np.random.default_rng(0).standard_normal((12, 3)), np.arange(12) % 2

# What a damaged file may say where it said something else.
ODD_VALUES = [
    None, True, -1, 0, 1.5, 30_000_000, 10**30, 1e308, float("nan"), float("inf"), "", "x", "numpy", [], [[]], {},
    [30_000_000, 30_000_000], [2, 3], {"__array__": "layers.0.bias"}, {"__array__": 3}, [None], "9" * 5000,
]  # fmt: skip


def make() -> pn.ParticleNetwork:
    """The network of every file."""
    return pn.ParticleNetwork([3, 4, 2], seed=0, backend="numpy")


def train(path: Path, resume: bool) -> None:
    """A run of two epochs, or what is left of it."""
    network = make()
    before = network.parameters.flat.tobytes()
    try:
        network.fit(
            X,
            Y,
            epochs=2,
            batch_size=6,
            optimizer=pn.Adam(0.01),
            validation_data=(X, Y),
            callbacks=pn.EarlyStopping(),
            checkpoint=path,
            resume=resume,
            progress=False,
        )
    except ValueError:
        if network.parameters.flat.tobytes() != before:
            raise RuntimeError("a checkpoint that was refused has changed the network") from None
        raise


def read(path: Path) -> None:
    """Everything that reads such a file."""
    for reader in (lambda: pn.load(path, backend="numpy"), lambda: train(path, resume=True)):
        content = path.read_bytes()
        try:
            reader()
        except ValueError as error:
            if path.name not in str(error):
                raise RuntimeError("an error that does not name the file") from error
        except pn.TrainingDiverged:
            pass  # numbers were changed to such as no training goes on from
        path.write_bytes(content)


def with_metadata(path: Path) -> tuple[dict[str, np.ndarray[Any, Any]], dict[str, Any]]:
    """The arrays and the parsed metadata of a good file."""
    content = path.read_bytes()
    header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
    return load_file(path), json.loads(header["__metadata__"][METADATA_KEY])


def places(value: Any, at: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The paths to everything in nested lists and dicts."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [at, *(place for key, item in inner for place in places(item, (*at, key)))]


def changed(value: Any, at: tuple[Any, ...], new: Any) -> Any:
    """A copy of nested lists and dicts with another value in one place; dropped where it is ``...``."""
    if not at:
        return None if new is ... else new
    copy = value.copy()
    if len(at) == 1 and new is ...:
        del copy[at[0]]
    else:
        copy[at[0]] = changed(value[at[0]], at[1:], new)
    return copy


def damaged_metadata(tensors: dict[str, Any], metadata: dict[str, Any]) -> st.SearchStrategy[bytes]:
    """A sound file with something odd in the metadata, or without one of its arrays."""
    odd = st.tuples(st.sampled_from(places(metadata)), st.sampled_from([*ODD_VALUES, ...]))
    lost = st.sets(st.sampled_from(sorted(tensors)), max_size=1)

    def apply(drawn: tuple[list[tuple[tuple[Any, ...], Any]], set[str]]) -> bytes:
        result: Any = metadata
        for at, new in drawn[0]:
            try:
                result = changed(result, at, new)
            except (AttributeError, LookupError, TypeError):
                continue  # what was there is gone already
        kept = {name: value for name, value in tensors.items() if name not in drawn[1]}
        return save(kept, {METADATA_KEY: json.dumps(result)})

    return st.tuples(st.lists(odd, min_size=1, max_size=2), lost).map(apply)


def main(examples: int, folder: Path) -> None:
    """Damage a network's file and a checkpoint, their bytes and their metadata, ``examples`` times each."""
    warnings.simplefilter("error")
    network, checkpoint = folder / "network.safetensors", folder / "checkpoint.safetensors"
    make().save(network)
    train(checkpoint, resume=False)
    for path in (network, checkpoint):
        read(path)  # also so that what it takes to read is imported before memory gets scarce
    limit_memory()
    for path in (network, checkpoint):
        tensors, metadata = with_metadata(path)
        for damage in (damaged_bytes(path.read_bytes()), damaged_metadata(tensors, metadata)):
            meet(path, damage, examples, read)


if __name__ == "__main__":
    main(int(sys.argv[1]), Path(sys.argv[2]))
