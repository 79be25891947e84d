"""The operator on torch tensors of the CPU, against the float64 oracle."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import pn_gpu as pn
from pn_gpu.kernels import numpy as room
from pn_gpu.kernels import potentials
from pn_gpu.kernels.room import Particles
from support import oracle

GRADIENTS = ("dx", "dr_in", "dv_in", "dr_out", "dv_out", "dbias")
DTYPES = {"float32": 3e-6, "float64": 1e-13}


def tensors(case: oracle.Case, dtype=torch.float64, requires_grad: bool = True) -> list[torch.Tensor]:
    """x, r_in, v_in, r_out, v_out and bias as leaves."""
    return [torch.tensor(a, dtype=dtype, requires_grad=requires_grad) for a in case[:6]]


@pytest.mark.parametrize("potential", potentials.names())
@pytest.mark.parametrize("dtype", DTYPES)
def test_value_and_gradients(potential, dtype):
    case = oracle.random_case(13, 37, 19, dim=3, dtype=np.dtype(dtype))
    leaves = tensors(case, getattr(torch, dtype))
    z = pn.particle_linear(*leaves, potential=potential)
    assert z.dtype == getattr(torch, dtype)
    scale = oracle.forward_scale(case, potential)
    assert oracle.scaled_error(z.detach().numpy(), oracle.forward(case, potential), scale) < DTYPES[dtype]

    z.backward(torch.tensor(case.dz))
    want, scales = oracle.backward(case, potential), oracle.backward_scale(case, potential)
    for name, leaf in zip(GRADIENTS, leaves, strict=True):
        got = leaf.grad.numpy()
        assert oracle.scaled_error(got, getattr(want, name), getattr(scales, name)) < DTYPES[dtype], name


@pytest.mark.parametrize(("n_in", "n_out"), [(1, 1), (7, 1), (1, 7), (997, 3), (3, 997)])
@pytest.mark.parametrize(("dim", "dipole_dim"), [(1, 1), (2, 3), (5, 2)])
def test_shapes(n_in, n_out, dim, dipole_dim):
    case = oracle.random_case(5, n_in, n_out, dim, dipole_dim)
    leaves = tensors(case)
    z = pn.particle_linear(*leaves)
    assert oracle.scaled_error(z.detach().numpy(), oracle.forward(case), oracle.forward_scale(case)) < 1e-13
    z.backward(torch.tensor(case.dz))
    want, scales = oracle.backward(case), oracle.backward_scale(case)
    for name, leaf in zip(GRADIENTS, leaves, strict=True):
        assert oracle.scaled_error(leaf.grad.numpy(), getattr(want, name), getattr(scales, name)) < 1e-13


@pytest.mark.parametrize("lead", [(), (3,), (2, 3), (2, 1, 3), (0,), (2, 0), (0, 2)])
def test_leading_dimensions(lead):
    case = oracle.random_case(6, 11, 4)
    x, *layer = tensors(case)
    count = int(np.prod(lead))
    batch = x.detach()[:count].reshape(*lead, 11).requires_grad_()
    z = pn.particle_linear(batch, *layer)
    assert z.shape == (*lead, 4)
    torch.testing.assert_close(z.reshape(count, 4), pn.particle_linear(x, *layer)[:count])
    z.sum().backward()
    assert batch.grad.shape == batch.shape
    assert layer[0].grad.shape == (11, 3)
    if count == 0:
        assert all((p.grad == 0).all() for p in layer)


def test_strides():
    """Transposed, sliced and expanded inputs, and an upstream gradient of stride 0, are as their copies."""
    case = oracle.random_case(6, 10, 5)
    x, *layer = tensors(case, requires_grad=False)
    layer = [p.requires_grad_() for p in layer]
    views = [
        x.T.contiguous().T,
        torch.stack([x, x], dim=2)[..., 1],
        x[:1].expand(6, 10),
        torch.cat([x, x])[::2],
    ]
    for view in views:
        z = pn.particle_linear(view, *layer)
        torch.testing.assert_close(z, pn.particle_linear(view.clone(), *layer), rtol=0, atol=0)
        from_stride_0 = torch.autograd.grad(z.sum(), layer, retain_graph=True)
        from_ones = torch.autograd.grad(z, layer, torch.ones_like(z))
        for a, b in zip(from_stride_0, from_ones, strict=True):
            torch.testing.assert_close(a, b, rtol=1e-13, atol=1e-13)


def test_lazy_negation():
    case = oracle.random_case(4, 6, 3)
    x, *layer = tensors(case, requires_grad=False)
    negated = torch.complex(torch.zeros_like(x), x).conj().imag
    assert negated.is_neg()
    torch.testing.assert_close(pn.particle_linear(negated, *layer), pn.particle_linear(-x, *layer))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("particle_dtype", ["same", torch.float32])
def test_16_bit(dtype, particle_dtype):
    """Computed in float32 and rounded once: at most twice the error of torch's own product of the same dtype."""
    case = oracle.random_case(64, 128, 96)
    layer_dtype = dtype if particle_dtype == "same" else particle_dtype
    x = torch.tensor(case.x, dtype=dtype, requires_grad=True)
    layer = [torch.tensor(a, dtype=layer_dtype, requires_grad=True) for a in case[1:6]]
    # What the operator is really given, exactly.
    given = oracle.Case(*(t.detach().double().numpy() for t in (x, *layer)), case.dz)
    z = pn.particle_linear(x, *layer)
    assert z.dtype == dtype
    want, scale = oracle.forward(given), oracle.forward_scale(given)
    dense = x.detach() @ torch.tensor(oracle.weight(given), dtype=dtype) + layer[4].detach().to(dtype)
    error = oracle.scaled_error(z.detach().double().numpy(), want, scale)
    assert error <= 2 * oracle.scaled_error(dense.double().numpy(), want, scale)

    dz = torch.tensor(case.dz, dtype=dtype)
    z.backward(dz)
    assert x.grad.dtype == dtype
    assert all(p.grad.dtype == layer_dtype for p in layer)
    given = given._replace(dz=dz.double().numpy())
    want, scales = oracle.backward(given), oracle.backward_scale(given)
    bound = torch.finfo(dtype).eps
    for name, leaf in zip(GRADIENTS, (x, *layer), strict=True):
        got = leaf.grad.double().numpy()
        assert oracle.scaled_error(got, getattr(want, name), getattr(scales, name)) < bound, name


@pytest.mark.filterwarnings("ignore:invalid value encountered:RuntimeWarning")  # NumPy's word for inf - inf
def test_nan_and_inf_pass_through():
    case = oracle.random_case(3, 8, 5)
    x, *layer = tensors(case, requires_grad=False)
    x[0, 3], x[1, 2] = torch.nan, torch.inf
    z = pn.particle_linear(x, *layer)
    assert z[0].isnan().all()
    assert not z[1].isfinite().any()
    assert z[2].isfinite().all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_memory_is_looked_at_in_place(monkeypatch, dtype):
    case = oracle.random_case(4, 6, 5)
    leaves = tensors(case, dtype)
    seen = {}
    for name in ("forward", "backward"):
        original = getattr(room, name)

        def spy(*arguments, name=name, original=original):
            flat = [a for argument in arguments for a in (argument if isinstance(argument, Particles) else [argument])]
            seen[name] = [a.ctypes.data for a in flat if isinstance(a, np.ndarray)]
            return original(*arguments)

        monkeypatch.setattr(room, name, spy)
    dz = torch.tensor(case.dz, dtype=dtype)
    pn.particle_linear(*leaves).backward(dz)
    assert seen["forward"] == [t.data_ptr() for t in leaves]
    assert seen["backward"] == [t.data_ptr() for t in (dz, *leaves[:5])]


def test_only_gradients_asked_for(monkeypatch):
    case = oracle.random_case(4, 6, 5)
    calls = []
    original = room.backward

    def spy(*arguments):
        calls.append(arguments[4:6])
        return original(*arguments)

    monkeypatch.setattr(room, "backward", spy)
    full = tensors(case)
    pn.particle_linear(*full).sum().backward()
    assert calls == [(True, True)]
    for wanted, call in [
        ({0}, [(True, False)]),
        ({2}, [(False, True)]),
        ({5}, []),
        ({0, 5}, [(True, False)]),
    ]:
        calls.clear()
        leaves = [t.detach().requires_grad_(k in wanted) for k, t in enumerate(full)]
        pn.particle_linear(*leaves).sum().backward()
        assert calls == call
        for k, leaf in enumerate(leaves):
            if k in wanted:
                torch.testing.assert_close(leaf.grad, full[k].grad)
            else:
                assert leaf.grad is None


def test_backward_function():
    case = oracle.random_case(4, 6, 5)
    x, *particles, bias = tensors(case)
    dz = torch.tensor(case.dz)
    pn.particle_linear(x, *particles, bias).backward(dz)
    gradient = pn.particle_linear_backward(dz, x, *particles)
    for name, leaf in zip(GRADIENTS, (x, *particles, bias), strict=True):
        torch.testing.assert_close(getattr(gradient, name), leaf.grad)
    stacked = pn.particle_linear_backward(dz.reshape(2, 2, 5), x.reshape(2, 2, 6), *particles, need_particles=False)
    assert stacked.dr_in is None
    torch.testing.assert_close(stacked.dx, x.grad.reshape(2, 2, 6))


def test_a_potential_of_ones_own():
    """An eager call takes any; what is staged finds a potential by its name."""
    name = "doubled_gaussian_of_tests"
    doubled = potentials.Potential(name, lambda s: 2 * np.exp(-s), lambda s: -2 * np.exp(-s))
    x, *layer = tensors(oracle.random_case(4, 6, 5))[:5]
    plain = pn.particle_linear(x, *layer)
    torch.testing.assert_close(pn.particle_linear(x, *layer, potential=doubled), 2 * plain)

    def staged(potential):
        return torch.compile(lambda x: pn.particle_linear(x, *layer, potential=potential), backend="aot_eager")(x)

    def faked(potential):
        return pn.particle_linear(*(t.to("meta") for t in (x, *layer)), potential=potential)

    mapped = torch.func.vmap(lambda row: pn.particle_linear(row, *layer, potential=doubled))(x)
    torch.testing.assert_close(mapped, 2 * plain)
    with pytest.raises(ValueError, match="potential: got the unregistered Potential 'doubled_gaussian_of_tests'"):
        faked(doubled)
    if name not in potentials.names():
        pn.register_potential(doubled)
    for potential in (name, potentials.get(name)):
        torch.testing.assert_close(staged(potential), 2 * plain)
    again = potentials.Potential(name, doubled.value, doubled.derivative)
    with pytest.raises(ValueError, match="potential: got the unregistered"):
        faked(again)


def test_bad_tensors():
    x, *layer = tensors(oracle.random_case(4, 6, 5))
    r_in, v_in, r_out, v_out, bias = layer

    def refuses(error, message, *arguments):
        with pytest.raises(error, match=message):
            pn.particle_linear(*arguments)

    refuses(TypeError, "x: got dtype torch.int64, want float16", x.long(), *layer)
    refuses(TypeError, "x: got dtype torch.complex128", x.to(torch.complex128), *layer)
    refuses(TypeError, "r_in: got dtype torch.float64, want torch.float32 like x", x.float(), *layer)
    refuses(TypeError, "r_in: got dtype torch.float64, want torch.float16 like x or", x.half(), *layer)
    mixed = (r_in.float(), v_in.half(), r_out.float(), v_out.float())
    refuses(TypeError, "r_in: got dtype torch.float32", x.half(), *mixed, bias.half())
    refuses(TypeError, "bias: got dtype torch.float16", x, r_in, v_in, r_out, v_out, bias.half())
    refuses(TypeError, "v_in: got ndarray, want a torch tensor like x", x, r_in, case_array(), r_out, v_out)
    refuses(TypeError, "r_in: got Tensor, want ndarray like x", x.detach().numpy(), *layer)
    refuses(TypeError, "x: got layout torch.sparse_coo", x.detach().to_sparse(), *layer)
    refuses(ValueError, "r_out: got device meta, want cpu like x", x, r_in, v_in, r_out.to("meta"), v_out)
    refuses(ValueError, r"x: got shape \(4, 5\), want \(4, 6\)", x[:, :5], *layer)
    refuses(ValueError, r"bias: got shape \(4,\), want \(5,\)", x, r_in, v_in, r_out, v_out, bias[:4])
    with pytest.raises(TypeError, match=r"x: got dtype torch\.float32, want .* like dz"):
        pn.particle_linear_backward(torch.ones(4, 5, dtype=torch.float64), x.float(), *layer[:4])


def case_array() -> np.ndarray:
    return np.zeros((6, 3))
