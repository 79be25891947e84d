"""Optimisers against torch's, and against their formulas."""

import numpy as np
import pytest

import pn_gpu as pn

RNG = np.random.default_rng(11)
START = RNG.standard_normal(7)
GRADIENTS = RNG.standard_normal((12, 7))
GRADIENTS[3, 2] = 0.0


def run(optimizer, gradients=GRADIENTS):
    parameters = START.copy()
    state = optimizer.start(parameters)
    for step, gradient in enumerate(gradients):
        optimizer.update(parameters, gradient, state, optimizer.lr(step, len(gradients)), step)
    return parameters


def run_torch(make):
    torch = pytest.importorskip("torch")
    parameter = torch.nn.Parameter(torch.tensor(START.copy()))
    optimizer = make(torch.optim, [parameter])
    for gradient in GRADIENTS:
        parameter.grad = torch.tensor(gradient)
        optimizer.step()
    return parameter.detach().numpy()


PAIRS = {
    "sgd": (pn.SGD(0.1), lambda optim, p: optim.SGD(p, lr=0.1)),
    "momentum": (pn.SGD(0.1, momentum=0.9), lambda optim, p: optim.SGD(p, lr=0.1, momentum=0.9)),
    "nesterov": (
        pn.SGD(0.1, momentum=0.8, nesterov=True),
        lambda optim, p: optim.SGD(p, lr=0.1, momentum=0.8, nesterov=True),
    ),
    "adagrad": (pn.Adagrad(0.1), lambda optim, p: optim.Adagrad(p, lr=0.1)),
    "adam": (pn.Adam(0.01), lambda optim, p: optim.Adam(p, lr=0.01)),
    "adamw": (pn.Adam(0.01, weight_decay=0.1), lambda optim, p: optim.AdamW(p, lr=0.01, weight_decay=0.1)),
    "rprop": (
        pn.Rprop(0.01, smallest=1e-3, largest=0.05),
        lambda optim, p: optim.Rprop(p, lr=0.01, step_sizes=(1e-3, 0.05)),
    ),
}


@pytest.mark.parametrize("name", PAIRS)
def test_same_as_torch(name):
    ours, make = PAIRS[name]
    np.testing.assert_allclose(run(ours), run_torch(make), rtol=1e-10, atol=1e-12)


def test_rprop_stands_still_where_its_schedule_ends_at_zero():
    optimizer = pn.Rprop(pn.Cosine(0.01))
    before = run(optimizer, GRADIENTS[:1])
    parameters, state = START.copy(), optimizer.start(START)
    for step, lr in enumerate((0.01, 0.0, 0.01)):
        optimizer.update(parameters, GRADIENTS[0], state, lr, step)
        if step < 2:
            np.testing.assert_array_equal(parameters, before)
    assert np.all(parameters[GRADIENTS[0] != 0] != before[GRADIENTS[0] != 0])


def test_rmsprop_by_its_formula():
    parameters, mean_square = START.copy(), np.zeros(7)
    for gradient in GRADIENTS:
        mean_square = 0.99 * mean_square + 0.01 * gradient**2
        parameters = parameters - 0.005 * gradient / np.sqrt(mean_square + 1e-7)
    np.testing.assert_allclose(run(pn.RMSProp()), parameters, rtol=1e-12)


def test_an_optimizer_object_keeps_no_state():
    optimizer = pn.Adam(0.01)
    np.testing.assert_array_equal(run(optimizer), run(optimizer))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: pn.SGD(lr=0), "lr: got 0, want a finite number > 0"),
        (lambda: pn.Adam(lr=float("nan")), "lr: got nan"),
        (lambda: pn.Adam(beta1=1.0), "beta1: got 1.0"),
        (lambda: pn.RMSProp(decay=-0.1), "decay: got -0.1"),
        (lambda: pn.Rprop(shrink=1.5), "shrink: got 1.5"),
        (lambda: pn.Adagrad(epsilon=0), "epsilon: got 0"),
        (lambda: pn.OneCycle(0.1, rise=2), "rise: got 2"),
        (lambda: pn.Cosine(-1), "peak: got -1"),
    ],
)
def test_bad_hyperparameters(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_hyperparameters_of_a_wrong_type():
    with pytest.raises(TypeError, match="lr: got 'fast'"):
        pn.SGD("fast")
    with pytest.raises(TypeError, match="nesterov: got 1"):
        pn.SGD(nesterov=1)


def test_schedules():
    assert [pn.Constant(0.3)(step, 10) for step in (0, 9)] == [0.3, 0.3]
    cosine = pn.Cosine(1.0, end=0.1)
    assert [cosine(step, 11) for step in (0, 5, 10)] == pytest.approx([1.0, 0.55, 0.1])
    warm = [pn.Cosine(1.0, warmup=0.5)(step, 20) for step in range(20)]
    assert warm[:10] == sorted(warm[:10])
    assert warm[10] == pytest.approx(1.0)
    assert warm[-1] == pytest.approx(0.0)
    cycle = [pn.OneCycle(1.0)(step, 101) for step in range(101)]
    assert cycle[0] == pytest.approx(0.04)
    assert cycle[30] == pytest.approx(1.0)
    assert cycle[100] == pytest.approx(4e-6)
    assert max(cycle) <= 1.0
    assert pn.OneCycle(1.0)(0, 1) > 0
