"""The kernels compile for every architecture, and keep to their registers. No GPU needed."""

from __future__ import annotations

import dataclasses
from functools import cache

import pytest

from pn_gpu.kernels import potentials
from pn_gpu.kernels.cuda import source, tiles
from pn_gpu.kernels.cuda.cupy_runtime import compile_error
from pn_gpu.kernels.potentials import Potential
from support import cuda_compilers
from support.cuda_compilers import Resources

pytestmark = pytest.mark.skipif(
    not cuda_compilers.available(), reason="NVRTC is not installed (pip install nvidia-cuda-nvrtc)"
)

GAUSSIAN = potentials.get("gaussian")
FILES = ("forward.cu", "backward.cu")
ARCHITECTURES = ("75", "80", "86", "89", "90", "100", "120")
REGISTER_FILE = 65536
STATIC_SHARED_MEMORY = 48 * 1024


@cache
def compile_module(
    file: str, dtype: str, architecture: str, dim: int = 3, d: int = 3, potential: Potential = GAUSSIAN
) -> dict[str, Resources]:
    key = source.module_key(file, dtype, dim, d, potential)
    report = cuda_compilers.compile_report(source.module_source(key), source.compiler_options(key), architecture)
    assert "warning" not in report
    return cuda_compilers.resources(report)


def threads_of(kernel: str, dtype: str) -> int:
    if kernel == "particle_gradient":
        return tiles.GRADIENT_TILES[dtype].threads
    return next((tile.threads for tile in tiles.FORWARD_TILES[dtype] if tile.kernel == kernel), 256)


def check_resources(kernels: dict[str, Resources], file: str, dtype: str) -> None:
    wanted = {tile.kernel for tile in tiles.FORWARD_TILES[dtype]} if file == "forward.cu" else {"particle_gradient"}
    assert wanted <= kernels.keys()
    for name, used in kernels.items():
        assert used.spilled_bytes == 0, name
        assert used.stack_bytes == 0, name
        assert used.registers * threads_of(name, dtype) <= REGISTER_FILE, name
        assert used.shared_bytes <= STATIC_SHARED_MEMORY, name


# float32 everywhere; the others where the generations differ in what they have for them.
@pytest.mark.parametrize(
    ("dtype", "architecture"),
    [("float32", a) for a in ARCHITECTURES]
    + [("float16", a) for a in ("75", "80", "90", "100", "120")]
    + [(dtype, a) for dtype in ("float64", "bfloat16") for a in ("80", "90", "100")],
)
@pytest.mark.parametrize("file", FILES)
def test_no_spills(file: str, dtype: str, architecture: str) -> None:
    check_resources(compile_module(file, dtype, architecture), file, dtype)


@pytest.mark.parametrize("potential", [name for name in potentials.names() if name != "gaussian"])
@pytest.mark.parametrize("file", FILES)
def test_every_potential(file: str, potential: str) -> None:
    check_resources(compile_module(file, "float32", "90", potential=potentials.get(potential)), file, "float32")


@pytest.mark.parametrize(("dtype", "dim", "d"), [("float32", 2, 2), ("float16", 2, 2), ("float32", 9, 8)])
@pytest.mark.parametrize("file", FILES)
def test_components(file: str, dtype: str, dim: int, d: int) -> None:
    """Few components stay in registers; particles of many may go to local memory."""
    kernels = compile_module(file, dtype, "90", dim, d)
    if dim + d <= 6:
        check_resources(kernels, file, dtype)


@pytest.mark.parametrize(("dtype", "components"), [("float64", 14), ("float64", 15), ("float64", 16), ("float32", 16)])
@pytest.mark.parametrize("file", FILES)
def test_particles_fit_in_shared_memory(file: str, dtype: str, components: int) -> None:
    """Around the most components that a tile of particles keeps there; the compiler refuses what does not fit."""
    for used in compile_module(file, dtype, "80", components - 8, 8).values():
        assert used.shared_bytes <= STATIC_SHARED_MEMORY


def test_residency() -> None:
    """The large tiles leave room for the blocks that the grids are planned for."""
    for dtype, architecture in (("float32", "90"), ("float16", "90"), ("float16", "80")):
        kernels = compile_module("forward.cu", dtype, architecture)
        for tile in tiles.FORWARD_TILES[dtype]:
            assert kernels[tile.kernel].registers * tile.threads * tile.resident <= REGISTER_FILE, tile.kernel


def test_bfloat16_needs_ampere() -> None:
    with pytest.raises(cuda_compilers.CompilerError, match=r"bfloat16 needs compute capability 8\.0"):
        compile_module("forward.cu", "bfloat16", "75")


@pytest.mark.parametrize("argument", ["cuda_value", "cuda_derivative"])
def test_an_expression_that_does_not_compile(argument: str) -> None:
    broken = dataclasses.replace(GAUSSIAN, name="mine", **{argument: "exp_(-s) *\n  shape(s)"})
    key = source.module_key("backward.cu", "float32", 2, 2, broken)
    with pytest.raises(cuda_compilers.CompilerError) as info:
        compile_module("backward.cu", "float32", "80", potential=broken)
    error = compile_error(key, str(info.value))
    assert isinstance(error, ValueError)
    assert f"potential: {argument} of 'mine' does not compile" in str(error)
    assert f"{argument} of potential mine(2): error: identifier" in str(error)


def test_an_error_of_our_own_is_not_blamed_on_the_potential() -> None:
    key = source.module_key("forward.cu", "float32", 2, 2, GAUSSIAN)
    error = compile_error(key, 'forward.cu(12): error: expected a ";"')
    assert isinstance(error, RuntimeError)
    assert "forward.cu(12)" in str(error)
