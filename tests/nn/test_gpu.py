"""The torch operators and modules on a CUDA device."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch

import pn_gpu as pn
from pn_gpu.kernels import potentials
from pn_gpu.kernels.room import Direct, Particles
from pn_gpu.kernels.torch.library import BACKWARD, FORWARD
from pn_gpu.nn import ParticleLinear, ParticleMLP
from support import oracle
from support.cuda_device import synchronisation_is_an_error

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]
CUDA = torch.device("cuda")
GRADIENTS = ("dx", "dr_in", "dv_in", "dr_out", "dv_out", "dbias")
SETTINGS = ("gaussian", None)


def tensors(case: oracle.Case, dtype: torch.dtype = torch.float32, requires_grad: bool = True) -> list[torch.Tensor]:
    """x of ``dtype``; r_in, v_in, r_out, v_out and bias of float32, or of float64 with an x of it."""
    layer = torch.float64 if dtype == torch.float64 else torch.float32
    dtypes = [dtype, *[layer] * 5]
    return [
        torch.tensor(a, dtype=t, device=CUDA, requires_grad=requires_grad)
        for a, t in zip(case[:6], dtypes, strict=True)
    ]


def exactly(leaves: list[torch.Tensor], dz: torch.Tensor) -> oracle.Case:
    """What the operator is really given, in float64."""
    return oracle.Case(*(t.detach().double().cpu().numpy() for t in (*leaves, dz)))


# Every combination would be compiled anew: the Gaussian takes the shapes, one shape takes the potentials and dtypes.
SHAPES = [(1, 1, 1), (3, 130, 67), (33, 67, 257), (300, 200, 140)]
COMBINATIONS = [
    *(("gaussian", dtype, shape) for dtype in (torch.float32, torch.bfloat16) for shape in SHAPES),
    *(("gaussian", dtype, SHAPES[2]) for dtype in (torch.float16, torch.float64)),
    *((name, torch.float32, SHAPES[2]) for name in potentials.names() if name != "gaussian"),
    ("wendland_c2", torch.bfloat16, SHAPES[2]),
    ("triangle", torch.bfloat16, SHAPES[2]),
]


@pytest.mark.parametrize(("potential", "dtype", "shape"), COMBINATIONS)
def test_value_and_gradients(potential, dtype, shape):
    leaves = tensors(oracle.random_case(*shape), dtype)
    dz = torch.randn(shape[0], shape[2], device=CUDA).to(dtype)
    case = exactly(leaves, dz)
    z = pn.particle_linear(*leaves, potential=potential)
    z.backward(dz)
    assert z.dtype == dtype
    # Sums of rounding errors in the fp32 kernels; rounding of x, the weights and z in the 16-bit ones.
    bound = {torch.float64: 1e-12, torch.float32: 1e-5}.get(dtype, 2 * torch.finfo(dtype).eps)
    scale = oracle.forward_scale(case, potential)
    assert oracle.scaled_error(z.detach().double().cpu().numpy(), oracle.forward(case, potential), scale) < bound
    want, scales = oracle.backward(case, potential), oracle.backward_scale(case, potential)
    for name, leaf in zip(GRADIENTS, leaves, strict=True):
        assert leaf.grad.dtype == leaf.dtype
        got = leaf.grad.double().cpu().numpy()
        assert oracle.scaled_error(got, getattr(want, name), getattr(scales, name)) < 1.5 * bound, name


@pytest.mark.parametrize(("dim", "dipole_dim"), [(1, 1), (2, 5), (4, 4), (8, 8), (11, 2)])
def test_dimensions(dim, dipole_dim):
    leaves = tensors(oracle.random_case(20, 70, 90, dim, dipole_dim))
    dz = torch.randn(20, 90, device=CUDA)
    case = exactly(leaves, dz)
    z = pn.particle_linear(*leaves)
    z.backward(dz)
    assert oracle.scaled_error(z.detach().cpu().numpy(), oracle.forward(case), oracle.forward_scale(case)) < 1e-5
    want, scales = oracle.backward(case), oracle.backward_scale(case)
    for name, leaf in zip(GRADIENTS, leaves, strict=True):
        assert oracle.scaled_error(leaf.grad.cpu().numpy(), getattr(want, name), getattr(scales, name)) < 1e-5, name


@pytest.mark.parametrize("lead", [(), (0,), (2, 3), (2, 0)])
def test_leading_dimensions(lead):
    _, *layer = tensors(oracle.random_case(1, 20, 30))
    x = torch.randn(*lead, 20, device=CUDA, requires_grad=True)
    z = pn.particle_linear(x, *layer)
    assert z.shape == (*lead, 30)
    z.sum().backward()
    assert x.grad.shape == x.shape
    if 0 in lead:
        assert all((p.grad == 0).all() for p in layer)


def test_strides():
    x, *layer = tensors(oracle.random_case(40, 37, 50))
    x = x.detach()
    for view in (x.T.contiguous().T, torch.stack([x, x], dim=2)[..., 1], x[:1].expand(40, 37), torch.cat([x, x])[::2]):
        torch.testing.assert_close(pn.particle_linear(view, *layer), pn.particle_linear(view.clone(), *layer))
    z = pn.particle_linear(x, *layer)
    stride_0 = torch.autograd.grad(z.sum(), layer, retain_graph=True)
    for a, b in zip(stride_0, torch.autograd.grad(z, layer, torch.ones_like(z)), strict=True):
        torch.testing.assert_close(a, b)


def test_nan_and_inf_pass_through():
    x, *layer = tensors(oracle.random_case(3, 80, 50), requires_grad=False)
    x[0, 3], x[1, 2] = torch.nan, torch.inf
    z = pn.particle_linear(x, *layer)
    assert z[0].isnan().all()
    assert not z[1].isfinite().any()
    assert z[2].isfinite().all()


def test_opcheck_and_gradcheck():
    x, *layer = tensors(oracle.random_case(5, 7, 4), torch.float64)
    torch.library.opcheck(FORWARD["particle_linear"], (x, *layer, *SETTINGS))
    particles = [p.detach() for p in layer[:4]]
    dz = torch.randn(5, 4, dtype=torch.float64, device=CUDA)
    torch.library.opcheck(BACKWARD["particle_linear"], (dz, x.detach(), *particles, *SETTINGS, True, True, True))
    assert torch.autograd.gradcheck(pn.particle_linear, (x, *layer))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("batch", [4, 100, 600])
def test_repeats_bit_for_bit(dtype, batch):
    leaves = tensors(oracle.random_case(batch, 500, 300), dtype)
    results = []
    for _ in range(3):
        z = pn.particle_linear(*leaves)
        results.append((z, *torch.autograd.grad(z.float().square().sum(), leaves)))
    for other in results[1:]:
        assert all(torch.equal(a, b) for a, b in zip(results[0], other, strict=True))


def test_autocast_keeps_particles():
    layer = ParticleLinear(70, 40, device=CUDA)
    x = torch.randn(5, 70, device=CUDA)
    with torch.autocast("cuda", dtype=torch.bfloat16):
        z = layer(x)
    assert z.dtype == torch.bfloat16
    torch.testing.assert_close(z, layer(x.bfloat16()), rtol=0, atol=0)
    z.float().sum().backward()
    assert {p.grad.dtype for p in layer.parameters()} == {torch.float32}


def test_precision_is_never_lowered_unasked():
    leaves = tensors(oracle.random_case(64, 500, 300), requires_grad=False)
    case = exactly(leaves, torch.zeros(64, 300))
    want, scale = oracle.forward(case), oracle.forward_scale(case)

    def error(precision):
        x, *particles, bias = leaves
        how = Direct(potentials.get("gaussian"), precision)
        z = pn.kernels.torch.particle_linear(x, Particles(*particles), bias, how)
        return oracle.scaled_error(z.cpu().numpy(), want, scale)

    assert error("ieee") < 2e-6
    assert error(None) < 2e-6
    assert 2e-6 < error("tf32") < 2e-3
    assert error("bf16x3") < 5e-5


@pytest.mark.filterwarnings("ignore:TensorFloat32 tensor cores:UserWarning")  # torch.compile's advice to use them
def test_compiled_training_step():
    torch._dynamo.reset()
    model = ParticleMLP([40, 70, 10], device=CUDA)
    eager = copy.deepcopy(model)
    compiled = torch.compile(model, fullgraph=True)
    x, labels = torch.randn(32, 40, device=CUDA), torch.randint(10, (32,), device=CUDA)
    for one in (compiled, eager):
        torch.nn.functional.cross_entropy(one(x), labels).backward()
    for a, b in zip(model.parameters(), eager.parameters(), strict=True):
        torch.testing.assert_close(a.grad, b.grad)


def test_cuda_graph_replay():
    model = ParticleMLP([40, 70, 10], device=CUDA)
    x = torch.randn(32, 40, device=CUDA)

    def step():
        for parameter in model.parameters():
            parameter.grad = None
        model(x).square().mean().backward()

    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(3):
            step()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        step()
    captured = [p.grad for p in model.parameters()]
    x.copy_(torch.randn(32, 40, device=CUDA))
    graph.replay()
    replayed = [g.clone() for g in captured]
    step()
    for a, p in zip(replayed, model.parameters(), strict=True):
        torch.testing.assert_close(a, p.grad)


def test_another_stream():
    """Work is enqueued on the caller's stream: a long delay there comes before it."""
    layer = ParticleLinear(64, 64, device=CUDA)
    x = torch.zeros(8, 64, device=CUDA)
    layer(x)
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        torch.cuda._sleep(50_000_000)
        x.fill_(1)
        z = layer(x)
    stream.synchronize()
    torch.testing.assert_close(z, layer(torch.ones(8, 64, device=CUDA)))


def test_no_synchronisation():
    model = ParticleMLP([64, 64, 10], device=CUDA)
    x = torch.randn(8, 64, device=CUDA)
    model(x).sum().backward()
    with synchronisation_is_an_error():
        model(x).sum().backward()


@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="needs two CUDA devices")
def test_device_that_is_not_the_current_one():
    layer = ParticleLinear(64, 64, device="cuda:1")
    x = torch.randn(8, 64, device="cuda:1", requires_grad=True)
    layer(x).sum().backward()
    torch.testing.assert_close(layer.to_dense()(x), layer(x), rtol=1e-4, atol=1e-4)


def test_memory_is_linear_in_the_nodes():
    """Forward and backward of a layer whose W would take 1 GiB allocate at most 64 MiB beside x, z and dx."""
    size, batch = 16384, 16
    layer = ParticleLinear(size, size, dim=2, method="direct", device=CUDA)
    x = torch.randn(batch, size, device=CUDA, requires_grad=True)
    layer(x).sum().backward()
    layer.zero_grad()
    x.grad = None
    before = torch.cuda.memory_allocated()
    torch.cuda.reset_peak_memory_stats()
    layer(x).sum().backward()
    assert torch.cuda.max_memory_allocated() - before < 64 << 20


def test_more_than_2_to_the_31_elements():
    rows, size = (1 << 31) // 1024 + 5, 1024
    if torch.cuda.mem_get_info()[0] < 12 * rows * size:
        pytest.skip("needs 24 GiB of free GPU memory")
    layer = ParticleLinear(size, 16, device=CUDA)
    x = torch.zeros(rows, size, device=CUDA, dtype=torch.bfloat16)
    x[-3:] = torch.randn(3, size, device=CUDA).bfloat16()
    with torch.no_grad():
        z = layer(x)
        torch.testing.assert_close(z[-3:], layer(x[-3:].clone()), rtol=2e-2, atol=2e-2)
    dz = torch.zeros_like(z)
    dz[-3:] = 1
    gradients = pn.particle_linear_backward(dz, x, *layer._operands(), need_dx=False)
    tail = pn.particle_linear_backward(dz[-3:], x[-3:].clone(), *layer._operands(), need_dx=False)
    for name in GRADIENTS[1:]:
        torch.testing.assert_close(getattr(gradients, name), getattr(tail, name), rtol=1e-2, atol=1e-2)


def test_cpu_and_gpu_agree():
    model = ParticleMLP([30, 50, 10], dim=2, dtype=torch.float64)
    x = torch.randn(7, 30, dtype=torch.float64)
    z = model(x)
    z.sum().backward()
    twin = copy.deepcopy(model).to(CUDA)
    twin.zero_grad()
    on_gpu = twin(x.to(CUDA))
    on_gpu.sum().backward()
    np.testing.assert_allclose(on_gpu.detach().cpu().numpy(), z.detach().numpy(), rtol=1e-11, atol=1e-11)
    for a, b in zip(twin.parameters(), model.parameters(), strict=True):
        torch.testing.assert_close(a.grad.cpu(), b.grad, rtol=1e-10, atol=1e-10)


def test_mixed_devices():
    layer = ParticleLinear(3, 4, device=CUDA)
    with pytest.raises(ValueError, match="x: got device cpu, want cuda:0"):
        layer(torch.ones(2, 3))
    with pytest.raises(ValueError, match="r_in: got device cuda:0, want cpu like x"):
        pn.particle_linear(torch.ones(2, 3), *layer._operands())
    with pytest.raises(ValueError, match="x: got device cuda:0, want cpu"):
        ParticleLinear(3, 4)(torch.ones(2, 3, device=CUDA))
