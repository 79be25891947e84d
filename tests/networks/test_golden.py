"""Networks against numbers of the paper author's own program."""

from pathlib import Path

import numpy as np
import pytest

import pn_gpu as pn

FOLDER = Path(__file__).parents[1] / "golden"

# file: hidden activations, output activation, loss, potential
CASES = {
    "dipole_n2_softmax": (["relu"], "softmax", "categorical_crossentropy", "gaussian"),
    "dipole_n3_softmax": (["tanh", "relu"], "softmax", "categorical_crossentropy", "gaussian"),
    "dipole_n3_mse": (["sigmoid"], "linear", "mse", "gaussian"),
    "dipole_n5_mse": (["tanh"], "tanh", "mse", "gaussian"),
    "dipole_n3_lorentzian": (["tanh"], "softmax", "categorical_crossentropy", "lorentzian"),
    "dipole_n3_inverse_multiquadric": (["tanh"], "softmax", "categorical_crossentropy", "inverse_multiquadric"),
    "dipole_n3_exponential": (["tanh"], "softmax", "categorical_crossentropy", "exponential"),
    "chargephase_n3_softmax": (["tanh"], "softmax", "categorical_crossentropy", "gaussian"),
}

# our name: the golden files' name, and the index of the first node set or layer that has it
PARTICLE_KEYS = {"positions": "positions", "dipoles": "dipoles", "phases": "phase", "charges": "charge"}


def golden_key(name: str) -> str:
    kind, index, what = name.split(".")
    return f"{PARTICLE_KEYS[what]}_{index}" if kind == "particles" else f"bias_{int(index) + 1}"


@pytest.fixture(params=CASES, scope="module")
def golden(request):
    with np.load(FOLDER / f"{request.param}.npz") as file:
        data = dict(file)
    activation, output, loss, potential = CASES[request.param]
    network = pn.ParticleNetwork(
        [int(size) for size in data["sizes"]],
        dim=int(data["n"]),
        activation=activation,
        output=output,
        loss=loss,
        potential=potential,
        model="charge_phase" if request.param.startswith("charge") else "dipole",
        backend="numpy",
        dtype="float64",
    )
    for name in network.parameters:
        network.parameters[name] = data[golden_key(name)]
    return network, data


def test_all_files_are_covered():
    assert {path.stem for path in FOLDER.glob("*.npz")} == set(CASES)


def test_outputs(golden):
    network, data = golden
    np.testing.assert_allclose(network.forward(data["x"]), data["predict"], rtol=1e-11, atol=1e-14)


def test_loss_and_gradient(golden):
    network, data = golden
    loss, gradient = network.loss_and_gradient(data["x"], data["y"])
    assert loss == pytest.approx(float(data["cost"]), rel=1e-11)
    for name in network.parameters:
        want = data[f"d_{golden_key(name)}"]
        np.testing.assert_allclose(gradient[name], want, rtol=1e-9, atol=1e-12 * np.abs(want).max(), err_msg=name)
