"""Triton kernels without a GPU: a fixture that runs them in Triton's interpreter."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

import pytest


def kernel_modules() -> list[ModuleType]:
    """The modules of `pn_gpu.kernels.triton`."""
    room = importlib.import_module("pn_gpu.kernels.triton")
    return [importlib.import_module(f"{room.__name__}.{module.name}") for module in pkgutil.iter_modules(room.__path__)]


@pytest.fixture
def interpreted(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Every kernel of the room as an interpreted function, so that CPU tensors run through the real launches.

    The interpreter multiplies bfloat16 blocks by their raw bits; here they are converted first.
    """
    pytest.importorskip("torch")
    pytest.importorskip("triton")
    import numpy as np
    import triton.language as tl
    from triton.runtime import interpreter
    from triton.runtime.jit import JITFunction

    # Triton imports it on the first launch and would find its own helpers replaced.
    importlib.import_module("triton.experimental.gluon")
    made: dict[int, Any] = {}

    def interpret(function: Any) -> Any:
        if not isinstance(function, JITFunction):
            return function
        return made.setdefault(id(function), interpreter.InterpretedFunction(function.fn))

    # Triton's own helpers (tl.zeros, tl.sum) are jit functions too.
    for module in (*kernel_modules(), tl, tl.standard):
        for name, value in list(vars(module).items()):
            if isinstance(value, JITFunction):
                monkeypatch.setattr(module, name, interpret(value))
    potentials = importlib.import_module("pn_gpu.kernels.triton.potentials")
    for name, functions in potentials.BUILT_IN.items():
        monkeypatch.setitem(potentials.BUILT_IN, name, type(functions)(*(interpret(f) for f in functions)))

    builder = type(interpreter.interpreter_builder)
    create_dot = builder.create_dot

    def create_dot_of_values(self: Any, a: Any, b: Any, *rest: Any) -> Any:
        return create_dot(self, as_float32(a), as_float32(b), *rest)

    def as_float32(block: Any) -> Any:
        if block.dtype.scalar != tl.bfloat16:
            return block
        bits = block.data.view(np.uint16).astype(np.uint32) << 16
        return interpreter.TensorHandle(bits.view(np.float32), tl.float32)

    monkeypatch.setattr(builder, "create_dot", create_dot_of_values)
    # An inf or NaN that a test puts in is no warning of ours.
    with (
        np.errstate(all="ignore"),
        _put_back(tl, tl.core, tl.math, tl.tensor, tl.dtype, tl.core.tensor_descriptor_base),
    ):
        yield


@contextmanager
def _put_back(*owners: Any) -> Iterator[None]:
    """Attributes as they were: of what a device function's call replaces, the interpreter leaves some replaced, and a
    kernel that is compiled afterwards would find them."""
    before = [dict(vars(owner)) for owner in owners]
    yield
    for owner, attributes in zip(owners, before, strict=True):
        for name, value in list(vars(owner).items()):
            if name not in attributes:
                delattr(owner, name)
            elif value is not attributes[name]:
                setattr(owner, name, attributes[name])
