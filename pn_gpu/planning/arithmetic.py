"""In which numbers a GPU computes a call: beside the sizes, what its costs depend on."""

from __future__ import annotations

import re
import sys
from typing import Any, NamedTuple

import array_api_compat as compat
import numpy as np

from pn_gpu.checks import check_choice
from pn_gpu.dispatch import is_tensor
from pn_gpu.kernels.room import PRECISIONS

Array = Any

DTYPES = ("float16", "bfloat16", "float32", "float64")


class Arithmetic(NamedTuple):
    """The numbers of a call on a GPU.

    Parameters
    ----------
    dtype : {"float16", "bfloat16", "float32", "float64"}
        Of x as it enters the products: autocast's where that is on.
    precision : {None, "ieee", "tf32", "bf16x3"}, default None
        How products of float32 numbers are asked for; None follows the setting of torch.
    """

    dtype: str
    precision: str | None = None

    def key(self, like: Array) -> str:
        """What tells its costs from those of others, for arrays of the library of ``like``."""
        if self.dtype != "float32" or not is_tensor(like):
            return self.dtype
        # Products of the Mehler method follow torch's setting, whatever direct ones are asked for.
        setting = sys.modules["torch"].get_float32_matmul_precision()
        return " ".join(filter(None, (self.dtype, setting, self.precision)))


def is_on_gpu(a: Array) -> bool:
    """Whether the array lies on a GPU."""
    return compat.is_cupy_array(a) or (is_tensor(a) and a.device.type != "cpu")


def arithmetic_of(x: Array) -> Arithmetic | None:
    """The numbers of a call with these inputs; None on a CPU, which computes in the dtype of the particles."""
    if not is_on_gpu(x):
        return None
    if not is_tensor(x):
        return Arithmetic(dtype_name(x.dtype))
    from pn_gpu.kernels.torch.autograd import dtype_under_autocast

    return Arithmetic(dtype_name(dtype_under_autocast(x)))


def named_arithmetic(dtype: Any, input_precision: str | None, r_in: Array) -> Arithmetic | None:
    """The numbers of a call as a caller names them, by default those of the particles; None on a CPU.

    Raises
    ------
    ValueError
        If the dtype or the precision is unknown.
    """
    name = check_choice("dtype", dtype_name(r_in.dtype if dtype is None else dtype), DTYPES)
    if input_precision is not None:
        check_choice("input_precision", input_precision, PRECISIONS)
    return Arithmetic(name, input_precision) if is_on_gpu(r_in) else None


def dtype_of(arithmetic: Arithmetic, like: Array) -> Any:
    """The dtype as the library of ``like`` has it; NumPy's bfloat16 is there where such an array is."""
    return getattr(sys.modules["torch"], arithmetic.dtype) if is_tensor(like) else np.dtype(arithmetic.dtype)


def dtype_name(dtype: Any) -> str:
    """The name of a dtype of any library."""
    found = re.search(r"\b(b?float\d+)\b", str(dtype))
    return found.group(1) if found else str(dtype)
