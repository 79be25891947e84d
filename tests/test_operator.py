"""The public operator: shapes, libraries, properties and errors."""

from __future__ import annotations

import importlib
import itertools
import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import pn_gpu as pn
from pn_gpu.kernels import numpy as numpy_room
from pn_gpu.kernels import potentials
from support import oracle
from support.oracle import Case, random_case

register_module = importlib.import_module("pn_gpu.kernels.potentials._potential")
BUILT_IN = potentials.names()  # before a test registers another
# Potentials without a cusp, whose rounding a transformation of the positions cannot magnify.
SMOOTH = ["gaussian", "lorentzian", "inverse_multiquadric"]


def linear(case: Case, **options) -> np.ndarray:
    return pn.particle_linear(case.x, *case.particles, case.bias, **options)


def gradient(case: Case, **options) -> pn.OperatorGradient:
    return pn.particle_linear_backward(case.dz, case.x, *case.particles, **options)


@pytest.mark.parametrize("leading", [(), (4,), (2, 3), (2, 0, 3), (0,), (1, 1, 5)])
def test_leading_dimensions(leading):
    flat = random_case(int(np.prod(leading)), 13, 7)
    case = flat._replace(x=flat.x.reshape(*leading, 13), dz=flat.dz.reshape(*leading, 7))
    np.testing.assert_array_equal(linear(case), linear(flat).reshape(*leading, 7))
    deep, shallow = gradient(case), gradient(flat)
    np.testing.assert_array_equal(deep.dx, shallow.dx.reshape(*leading, 13))
    for got, want in zip(deep[1:], shallow[1:], strict=True):
        np.testing.assert_array_equal(got, want)


def test_no_bias_is_a_bias_of_zero():
    case = random_case(4, 13, 7)
    without = pn.particle_linear(case.x, *case.particles)
    np.testing.assert_array_equal(without, linear(case._replace(bias=np.zeros(7))))


@pytest.mark.parametrize("potential", sorted(oracle.POTENTIALS))
def test_dense_weight(potential):
    case = random_case(1, 20, 30)
    got = pn.dense_weight(*case.particles, potential=potential)
    np.testing.assert_allclose(got, oracle.weight(case, potential), rtol=1e-12, atol=1e-14)


def test_all_built_in_potentials_have_an_oracle():
    assert set(BUILT_IN) == set(oracle.POTENTIALS)


sizes = st.tuples(st.integers(1, 5), st.integers(1, 40), st.integers(1, 40), st.integers(1, 4), st.integers(1, 4))
seeds = st.integers(0, 2**32 - 1)
quick = settings(max_examples=25, deadline=None)


def draw(size: tuple[int, ...], seed: int) -> Case:
    b, n_in, n_out, dim, d = size
    return random_case(b, n_in, n_out, dim, d, seed=seed)


def assert_same(got, want, case: Case, potential: str = "gaussian") -> None:
    assert oracle.scaled_error(got, want, oracle.forward_scale(case, potential)) < 1e-12


@quick
@given(sizes, seeds, st.sampled_from(SMOOTH), st.floats(-100, 100))
def test_translation_changes_nothing(size, seed, potential, shift):
    case = draw(size, seed)
    moved = case._replace(r_in=case.r_in + shift, r_out=case.r_out + shift)
    assert_same(linear(moved, potential=potential), linear(case, potential=potential), case, potential)


@quick
@given(sizes, seeds, st.sampled_from(SMOOTH))
def test_rotation_of_the_positions_changes_nothing(size, seed, potential):
    case = draw(size, seed)
    dim = case.r_in.shape[1]
    rotation, _ = np.linalg.qr(np.random.default_rng(seed).standard_normal((dim, dim)))
    moved = case._replace(r_in=case.r_in @ rotation, r_out=case.r_out @ rotation)
    assert_same(linear(moved, potential=potential), linear(case, potential=potential), case, potential)


@quick
@given(sizes, seeds)
def test_position_gradients_sum_to_zero(size, seed):
    case = draw(size, seed)
    g, scale = gradient(case), oracle.backward_scale(case)
    total = np.abs(g.dr_in.sum(axis=0) + g.dr_out.sum(axis=0))
    assert (total <= 1e-12 * (scale.dr_in.sum(axis=0) + scale.dr_out.sum(axis=0)) + 1e-14).all()


@quick
@given(sizes, seeds, st.floats(-10, 10), st.sampled_from(sorted(oracle.POTENTIALS)))
def test_linear_in_x(size, seed, factor, potential):
    case = draw(size, seed)
    other = np.random.default_rng(seed).standard_normal(case.x.shape)
    none = case._replace(bias=np.zeros_like(case.bias))
    apart = linear(none, potential=potential) + factor * linear(none._replace(x=other), potential=potential)
    mixed = none._replace(x=np.abs(case.x) + np.abs(factor * other))
    scale = oracle.forward_scale(mixed, potential)
    got = linear(none._replace(x=case.x + factor * other), potential=potential)
    assert oracle.scaled_error(got, apart, scale) < 1e-12


@quick
@given(sizes, seeds, st.sampled_from(SMOOTH))
def test_exchange_of_the_node_sets_is_the_transpose(size, seed, potential):
    case = draw(size, seed)
    exchanged = pn.particle_linear(case.dz, case.r_out, case.v_out, case.r_in, case.v_in, potential=potential)
    scale = oracle.backward_scale(case, potential)
    assert oracle.scaled_error(gradient(case, potential=potential).dx, exchanged, scale.dx) < 1e-12
    x_z = np.vdot(case.x, exchanged)
    z_x = np.vdot(case.dz, pn.particle_linear(case.x, *case.particles, potential=potential))
    assert abs(x_z - z_x) <= 1e-12 * (np.abs(case.x) * scale.dx).sum()


@quick
@given(sizes, seeds, st.floats(-10, 10))
def test_weights_scale_with_the_dipoles(size, seed, factor):
    case = draw(size, seed)
    case = case._replace(bias=np.zeros_like(case.bias))
    scaled = linear(case._replace(v_in=factor * case.v_in))
    assert oracle.scaled_error(scaled, factor * linear(case), abs(factor) * oracle.forward_scale(case) + 1e-300) < 1e-12


@quick
@given(sizes, seeds, st.sampled_from(["float32", "float64"]), st.sampled_from(sorted(oracle.POTENTIALS)))
def test_any_size_agrees_with_the_formula(size, seed, dtype, potential):
    case = Case(*(a.astype(dtype) for a in draw(size, seed)))
    # Against the weights of k = 1: near the edge of a compact support k itself has few digits.
    scale = np.abs(case.x) @ (np.abs(case.v_in) @ np.abs(case.v_out).T) + np.abs(case.bias)
    error = oracle.scaled_error(linear(case, potential=potential), oracle.forward(case, potential), scale)
    assert error < {"float32": 1e-5, "float64": 1e-13}[dtype]


OTHER_LIBRARIES = ["torch", "array_api_strict"]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("library", OTHER_LIBRARIES)
def test_other_libraries_on_the_cpu(library, dtype):
    xp = pytest.importorskip(library)
    case = random_case(6, 40, 30, dtype=dtype)
    theirs = Case(*(xp.asarray(a) for a in case))
    z = linear(theirs)
    assert type(z) is type(theirs.x)
    assert z.dtype == theirs.x.dtype
    np.testing.assert_array_equal(np.asarray(z), linear(case))
    for got, want in zip(gradient(theirs), gradient(case), strict=True):
        assert type(got) is type(theirs.x)
        np.testing.assert_array_equal(np.asarray(got), want)
    weight = pn.dense_weight(*theirs.particles)
    assert type(weight) is type(theirs.x)
    np.testing.assert_allclose(np.asarray(weight), pn.dense_weight(*case.particles), rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("library", OTHER_LIBRARIES)
def test_arrays_of_other_libraries_are_not_copied(library, monkeypatch):
    xp = pytest.importorskip(library)
    seen = []

    def spy(x, particles, bias, *rest):
        seen.extend([x, *particles, bias])
        return forward(x, particles, bias, *rest)

    forward = numpy_room.forward
    monkeypatch.setattr(numpy_room, "forward", spy)
    theirs = Case(*(xp.asarray(a) for a in random_case(6, 40, 30)))
    linear(theirs)
    pointers = [np.asarray(a).ctypes.data for a in (theirs.x, *theirs.particles, theirs.bias)]
    assert [a.ctypes.data for a in seen] == pointers


def test_a_registered_potential():
    def value(s):
        return 1 / (1 + s) ** 2

    def derivative(s):
        return -2 / (1 + s) ** 3

    mine = potentials.register(pn.Potential("test_lorentzian_squared", value, derivative))
    try:
        case = random_case(5, 300, 200)
        z = linear(case, potential="test_lorentzian_squared")
        oracle.POTENTIALS["test_lorentzian_squared"] = (value, derivative)
        assert_same(z, oracle.forward(case, mine.name), case, mine.name)
        wanted, scale = oracle.backward(case, mine.name), oracle.backward_scale(case, mine.name)
        for got, want, size in zip(gradient(case, potential=mine), wanted, scale, strict=True):
            assert oracle.scaled_error(got, want, size) < 1e-12
        with pytest.raises(ValueError, match="already registered"):
            potentials.register(mine)
    finally:
        oracle.POTENTIALS.pop("test_lorentzian_squared", None)
        register_module._registered.pop("test_lorentzian_squared", None)


def test_registering_something_else_is_an_error():
    with pytest.raises(TypeError, match="Potential"):
        potentials.register(lambda s: s)


GOOD = {name: getattr(random_case(4, 13, 7), name) for name in ("x", "r_in", "v_in", "r_out", "v_out", "bias", "dz")}

WRONG_SHAPES = [
    ("x", (4, 12)),
    ("x", ()),
    ("x", (13, 4)),
    ("r_in", (13,)),
    ("r_in", (13, 0)),
    ("r_in", (12, 3)),
    ("v_in", (12, 3)),
    ("v_in", (13, 2)),
    ("v_in", (13, 3, 1)),
    ("r_out", (7, 2)),
    ("v_out", (7, 4)),
    ("v_out", (6, 3)),
    ("bias", (8,)),
    ("bias", (7, 1)),
    ("bias", ()),
    ("dz", (4, 8)),
    ("dz", (5, 7)),
    ("dz", (7,)),
]


def call(function: str, arguments: dict, **options):
    names = ("dz", "x") if function == "backward" else ("x",)
    names += ("r_in", "v_in", "r_out", "v_out")
    if function == "forward":
        return pn.particle_linear(*(arguments[n] for n in names), arguments["bias"], **options)
    return pn.particle_linear_backward(*(arguments[n] for n in names), **options)


def functions_with(name: str) -> list[str]:
    return [f for f in ("forward", "backward") if name != {"forward": "dz", "backward": "bias"}[f]]


# A v_in of other components than v_out may be either one's fault.
PARTNER = {"v_in": "v_out"}
CASES = [(f, name, shape) for name, shape in WRONG_SHAPES for f in functions_with(name)]


@pytest.mark.parametrize(("function", "name", "shape"), CASES, ids=str)
def test_wrong_shapes(function, name, shape):
    with pytest.raises(ValueError, match=r"got shape .*want") as error:
        call(function, GOOD | {name: np.zeros(shape)})
    assert re.search(rf"\b({name}|{PARTNER.get(name, name)})\b", str(error.value))


NOT_FLOATING = [np.int64, np.bool_, np.complex128, np.float16, ">f8"]


@pytest.mark.parametrize(
    ("function", "name", "dtype"),
    [(f, n, d) for n, d in itertools.product(GOOD, NOT_FLOATING) for f in functions_with(n)],
    ids=str,
)
def test_wrong_dtypes(function, name, dtype):
    with pytest.raises(TypeError, match=rf"\b{name}\b"):
        call(function, GOOD | {name: GOOD[name].real.astype(dtype)})


@pytest.mark.parametrize("dtype", [*NOT_FLOATING, np.longdouble])
def test_all_of_one_unsupported_dtype(dtype):
    with pytest.raises(TypeError, match="dtype"):
        call("forward", {name: a.astype(dtype) for name, a in GOOD.items()})


@pytest.mark.parametrize("name", list(GOOD))
def test_mixed_dtypes(name):
    with pytest.raises(TypeError, match="dtype"):
        call(functions_with(name)[0], GOOD | {name: GOOD[name].astype(np.float32)})


@pytest.mark.parametrize("name", list(GOOD))
@pytest.mark.parametrize("value", [[[1.0]], 3, "x"], ids=repr)
def test_no_array(name, value):
    with pytest.raises(TypeError, match=rf"{name}: got (list|int|str), want"):
        call(functions_with(name)[0], GOOD | {name: value})


@pytest.mark.parametrize("name", ["x", "r_in", "v_in", "r_out", "v_out"])
def test_none_for_an_array(name):
    with pytest.raises((TypeError, ValueError), match=name):
        call("forward", GOOD | {name: None})


@pytest.mark.parametrize("name", ["x", "r_out", "bias"])
def test_mixed_libraries(name):
    torch = pytest.importorskip("torch")
    with pytest.raises(TypeError, match=r"got .*want"):
        call("forward", GOOD | {name: torch.asarray(GOOD[name])})


@pytest.mark.parametrize("function", ["forward", "backward"])
@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"potential": "coulomb"}, ValueError),
        ({"potential": None}, ValueError),
        ({"method": "fast"}, ValueError),
        ({"method": 3}, ValueError),
        ({"rtol": -1e-3}, ValueError),
        ({"rtol": 2.0}, ValueError),
        ({"rtol": float("nan")}, ValueError),
        ({"rtol": "tight"}, TypeError),
    ],
    ids=str,
)
def test_wrong_options(function, options, error):
    name = next(iter(options))
    with pytest.raises(error, match=rf"{name}: got .*want"):
        call(function, GOOD, **options)
