"""Training steps replayed as a graph: the same numbers as eager ones, and nothing in them stays as it was captured.

The graph is a recording on the CPU (`tests.support.recorded_graph`): no graph of a GPU has been run.
"""

import numpy as np
import pytest

import pn_gpu as pn
from pn_gpu.backends import Backend
from pn_gpu.training import fit as fitting
from pn_gpu.training.graphed_steps import EAGER_STEPS, GraphedSteps

torch = pytest.importorskip("torch")
from support.recorded_graph import RecordedGraph  # noqa: E402

RNG = np.random.default_rng(5)
X = RNG.standard_normal((44, 6)).astype(np.float32)
LABELS = RNG.integers(0, 3, 44)
BATCH, EPOCHS = 8, 4  # five full batches and one of four
OPTIMIZERS = {
    "sgd": lambda: pn.SGD(pn.OneCycle(0.1), momentum=0.9, nesterov=True),
    "rmsprop": lambda: pn.RMSProp(pn.Cosine(0.01)),
    "adagrad": lambda: pn.Adagrad(0.05),
    "adam": lambda: pn.Adam(pn.OneCycle(0.05), weight_decay=1e-2),
    "rprop": lambda: pn.Rprop(pn.Cosine(0.01), smallest=1e-3, largest=0.05),
}


def make(sizes=(6, 5, 3), backend="torch:cpu", **options):
    return pn.ParticleNetwork(sizes, dim=2, seed=3, backend=backend, **options)


@pytest.fixture
def graphs(monkeypatch):
    """Steps of torch's CPU backend are recorded; what made them comes in the list."""
    made = []

    class Remembered(GraphedSteps):
        def __init__(self, make_graph):
            super().__init__(make_graph)
            made.append(self)

    monkeypatch.setattr(Backend, "captures_graphs", property(lambda self: self.name == "torch:cpu"))
    monkeypatch.setattr(fitting, "CudaGraph", lambda device: RecordedGraph())
    monkeypatch.setattr(fitting, "GraphedSteps", Remembered)
    return made


def fit(network, x=X, y=LABELS, **options):
    options = {"epochs": EPOCHS, "batch_size": BATCH, "seed": 1, "progress": False} | options
    return network.fit(x, y, **options)


def check_same(make_network, **options):
    """Train with and without a graph; the steps that were replayed."""
    eager, graphed = make_network(), make_network()
    expected = fit(eager, cuda_graph=False, **options)
    history = fit(graphed, **options)
    # The same operations in the same order: the same bits.
    np.testing.assert_array_equal(graphed.parameters.flat.numpy(), eager.parameters.flat.numpy())
    for name in set(expected.metrics) - {"seconds"}:
        assert history[name] == expected[name], name


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_same_numbers_as_eager_steps(graphs, name):
    check_same(make, optimizer=OPTIMIZERS[name]())
    (steps,) = graphs
    assert steps.captures == 1
    # All full batches but those before and of the capture; the short ones are eager.
    assert steps.replays == EPOCHS * (len(X) // BATCH) - EAGER_STEPS - 1


def test_batch_weights_dropout_and_penalties_are_those_of_the_step(graphs):
    network = {"dropout": 0.4, "activation": "leaky_relu", "model": "charge_phase"}
    penalties = [pn.L2(dipoles=1e-2, biases=1e-2), pn.Repulsion(1e-2)]
    check_same(
        lambda: make((6, 7, 5, 3), **network),
        penalties=penalties,
        label_smoothing=0.1,
        sample_weight=RNG.uniform(0.2, 2, len(X)),
        validation_data=(X[:10], LABELS[:10]),
    )
    assert graphs[0].captures == 1
    assert graphs[0].replays > 10


@pytest.mark.parametrize("activation", ["elu", "gelu", "tanh", "sigmoid", "softplus", "linear", "softmax"])
def test_every_activation_can_be_captured(graphs, activation):
    check_same(lambda: make(activation=activation), epochs=2)
    assert graphs[0].captures == 1


@pytest.mark.parametrize(
    ("output", "loss"), [("sigmoid", None), ("linear", None), ("linear", "mae"), ("softmax", "mse")]
)
def test_every_loss_can_be_captured(graphs, output, loss):
    targets = np.eye(3, dtype=np.float32)[LABELS]
    check_same(lambda: make(output=output, loss=loss), y=targets, epochs=2)
    assert graphs[0].captures == 1


def test_dense_and_unshared_networks_and_fixed_positions(graphs):
    check_same(lambda: make(shared=False, dtype="float64"))
    check_same(lambda: make().to_dense())
    check_same(lambda: make(positions=RNG_POSITIONS.copy(), shared=False))
    assert [steps.captures for steps in graphs] == [1, 1, 1]


RNG_POSITIONS = RNG.standard_normal((6, 2))


def test_plans_of_approximated_layers_are_never_stale(graphs):
    # Every epoch plans anew, and so do particles that move fast: each graph has the plans of its capture.
    wide = RNG.standard_normal((len(X), 120)).astype(np.float32)
    networks = []

    def make_network():
        networks.append(make((120, 150, 3), method="mehler", rtol=1e-2))
        return networks[-1]

    check_same(make_network, x=wide, optimizer=pn.Adam(0.02), epochs=6)
    assert networks[1].connections[0].planner.current.method == "mehler"
    (steps,) = graphs
    assert steps.captures > 1
    assert steps.replays > 5


def test_captured_anew_when_anything_fixed_changes(graphs):
    def change(run):
        network = run.network
        if run.epoch == 2:
            run.optimizer.beta1 = 0.5
        elif run.epoch == 4:
            run.penalties[0].strengths["dipoles"] = 0.5
        elif run.epoch == 6:
            network.parameters.flat = network.parameters.flat.clone()
        elif run.epoch == 8:
            run.remove_mean_translation = False

    results = []
    for cuda_graph in (False, None):
        network = make()
        options = {"optimizer": pn.Adam(0.01), "penalties": [pn.L2(dipoles=1e-3)]}
        fit(network, epochs=10, callbacks=change, cuda_graph=cuda_graph, **options)
        results.append(network.parameters.flat.numpy())
    np.testing.assert_array_equal(*results)
    assert graphs[0].captures == 5


def test_a_run_resumes_as_it_would_have_gone_on(graphs, tmp_path):
    whole = make(dropout=0.2)
    fit(whole, optimizer=pn.Adam(0.01), epochs=4)
    first, second = make(dropout=0.2), make(dropout=0.2)
    fit(first, optimizer=pn.Adam(0.01), epochs=2, checkpoint=tmp_path / "run")
    fit(second, optimizer=pn.Adam(0.01), epochs=4, checkpoint=tmp_path / "run", resume=True)
    np.testing.assert_array_equal(second.parameters.flat.numpy(), whole.parameters.flat.numpy())


class ReadsTheHost(pn.L2):
    """A penalty that claims to be replayable and is not."""

    def add(self, network, gradient):
        return super().add(network, gradient) * float(network.parameters.flat[0])


def test_a_capture_that_fails_leaves_eager_steps_and_one_warning(graphs):
    eager, network = make(), make()
    options = {"optimizer": pn.Adam(0.01), "penalties": [ReadsTheHost(1e-3)]}
    fit(eager, cuda_graph=False, **options)
    with pytest.warns(RuntimeWarning, match="cuda_graph: .*NotCapturable: a number is read back") as caught:
        fit(network, **options)
    assert len(caught) == 1
    assert graphs[0].captures == 0
    np.testing.assert_array_equal(network.parameters.flat.numpy(), eager.parameters.flat.numpy())


def test_a_graph_that_computes_another_step_is_dropped(graphs, monkeypatch):
    class Halved(RecordedGraph):
        def replay(self):
            for operation in self.operations[: len(self.operations) // 2]:
                operation()

    monkeypatch.setattr(fitting, "CudaGraph", lambda device: Halved())
    eager, network = make(), make()
    fit(eager, cuda_graph=False, optimizer=pn.Adam(0.01))
    with pytest.warns(RuntimeWarning, match="its first replay is not the step"):
        fit(network, optimizer=pn.Adam(0.01))
    np.testing.assert_array_equal(network.parameters.flat.numpy(), eager.parameters.flat.numpy())


class OwnUpdate(pn.SGD):
    """An optimiser whose update a graph cannot know."""

    def update(self, parameters, gradient, state, lr, step):
        super().update(parameters, gradient, state, lr / (1 + step), step)


class Silent(pn.L2):
    """A penalty that does not say that it is replayable."""

    replayable = False


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"remove_mean_rotation": True}, "remove_mean_rotation"),
        ({"optimizer": OwnUpdate(0.1)}, "OwnUpdate has an update of its own"),
        ({"penalties": [Silent(0.1)]}, "Silent does not say"),
    ],
)
def test_what_cannot_be_replayed_is_eager_or_refused(graphs, options, reason):
    check_same(make, **options)
    assert graphs == []
    with pytest.raises(ValueError, match=f"cuda_graph: got True, but .*{reason}"):
        fit(make(), cuda_graph=True, **options)


def test_only_torch_on_cuda():
    with pytest.raises(ValueError, match=r"cuda_graph: got True, .*the backend is numpy, want torch on CUDA"):
        fit(make(backend="numpy"), cuda_graph=True)
    with pytest.raises(TypeError, match="cuda_graph: got 1"):
        fit(make(backend="numpy"), cuda_graph=1)
