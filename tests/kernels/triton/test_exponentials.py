"""Powers of two by multiply-adds: their error, in Triton's interpreter, whose float32 arithmetic is IEEE's."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")
triton = pytest.importorskip("triton")

import triton.language as tl  # noqa: E402
from triton.runtime.interpreter import InterpretedFunction  # noqa: E402

from pn_gpu.kernels.triton import exponentials  # noqa: E402
from pn_gpu.kernels.triton.exponentials import POLYNOMIAL_ERROR, SMALLEST_EXPONENT  # noqa: E402

pytestmark = pytest.mark.usefixtures("interpreted")
ROWS, COLUMNS = 64, 64


def power_kernel(t, powers, SHARES: tl.constexpr, ROWS: tl.constexpr, COLUMNS: tl.constexpr) -> None:
    o_columns = tl.arange(0, COLUMNS)
    o = tl.arange(0, ROWS)[:, None] * COLUMNS + o_columns[None, :]
    exponents = tl.load(t + o)
    if SHARES:
        tl.store(powers + o, exponentials.shared_exp2(exponents, o_columns))
    else:
        tl.store(powers + o, exponentials.exp2_by_multiply_adds(exponents))


def powers_of(t: Any, shares: bool) -> Any:
    powers = torch.full((ROWS, COLUMNS), float("nan"))
    values = torch.as_tensor(t, dtype=torch.float32).reshape(ROWS, COLUMNS)
    InterpretedFunction(power_kernel)[(1,)](values, powers, SHARES=shares, ROWS=ROWS, COLUMNS=COLUMNS)
    return powers.numpy().astype(float)


@pytest.mark.parametrize(("low", "high"), [(-1.0, 1.0), (-16.0, 0.5), (-125.0, 0.0)])
def test_error(low: float, high: float) -> None:
    t = np.linspace(low, high, ROWS * COLUMNS, dtype=np.float32).reshape(ROWS, COLUMNS)
    error = np.abs(powers_of(t, shares=False) / np.exp2(t.astype(float)) - 1).max()
    print(f"[{low}, {high}]: {error / POLYNOMIAL_ERROR:.3f} of the bound")
    assert 0.5 * POLYNOMIAL_ERROR < error <= POLYNOMIAL_ERROR
    # Rounding to float16 costs more than six times that.
    assert POLYNOMIAL_ERROR < 2.0**-11 / 6


def test_powers_below_every_normal_number_are_as_good_as_zero() -> None:
    t = -np.geomspace(126, 1e30, ROWS * COLUMNS)
    powers = powers_of(t, shares=False)
    assert (powers >= 0).all()
    assert powers.max() <= 2.0**SMALLEST_EXPONENT.value * (1 + POLYNOMIAL_ERROR)


def test_every_fourth_group_of_eight_columns_is_made_by_multiply_adds() -> None:
    t = np.linspace(-8.3, 0, ROWS * COLUMNS, dtype=np.float32).reshape(ROWS, COLUMNS)
    fourth = np.arange(COLUMNS) // 8 % 4 == 3
    shared, polynomial = powers_of(t, shares=True), powers_of(t, shares=False)
    assert (shared[:, fourth] == polynomial[:, fourth]).all()
    error = np.abs(shared / np.exp2(t.astype(float)) - 1)[:, ~fourth].max()
    assert error < 1e-6
