"""Training steps as a CUDA graph on a CUDA device, against eager ones."""

from __future__ import annotations

import numpy as np
import pytest

import pn_gpu as pn

torch = pytest.importorskip("torch")
pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]
RNG = np.random.default_rng(5)
LABELS = RNG.integers(0, 3, 200)


@pytest.mark.parametrize(
    ("options", "sizes"),
    [
        ({"dropout": 0.3, "activation": "leaky_relu"}, (6, 40, 20, 3)),
        ({"model": "charge_phase", "output": "linear", "loss": "mae"}, (6, 40, 3)),
        ({"method": "mehler", "rtol": 1e-2}, (300, 400, 3)),
    ],
)
@pytest.mark.parametrize("optimizer", [pn.Adam(pn.OneCycle(0.02), weight_decay=1e-3), pn.Rprop(pn.Cosine(0.01))])
def test_replayed_steps_are_those_of_eager_training(options, sizes, optimizer):
    x = RNG.standard_normal((200, sizes[0])).astype(np.float32)
    y = np.eye(3, dtype=np.float32)[LABELS] if options.get("loss") else LABELS
    penalties = [pn.L2(dipoles=1e-3), pn.Repulsion(1e-3)]
    histories = []
    for cuda_graph in (False, True):
        network = pn.ParticleNetwork(sizes, dim=2, seed=3, backend="torch:cuda:0", **options)
        history = network.fit(
            x, y, epochs=4, batch_size=24, optimizer=optimizer, penalties=penalties, seed=1, progress=False,
            cuda_graph=cuda_graph,
        )  # fmt: skip
        histories.append(history["loss"])
    # Warnings are errors, so a capture that fails fails here. Products may be summed in another order.
    np.testing.assert_allclose(*histories, rtol=1e-3)
