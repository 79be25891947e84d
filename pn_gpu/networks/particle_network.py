"""A network whose layers connect node sets of particles."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from pn_gpu.backends import Backend
from pn_gpu.checks import check_flag, check_integer
from pn_gpu.kernels import potentials
from pn_gpu.model.layers import Layer, ParticleLayer
from pn_gpu.model.node_models import get_node_model
from pn_gpu.model.parameters import ParameterGroup
from pn_gpu.networks.dense_network import DenseNetwork
from pn_gpu.networks.network import Network
from pn_gpu.operator import dense_weight
from pn_gpu.planning import MethodPlanner
from pn_gpu.planning.plan import check_method


class ParticleNetwork(Network):
    """A Particle Network: O(N + M) parameters per layer instead of O(N M).

    Every level of nodes is a set of particles; the weight between two nodes is computed from their particles,
    ``w_ij = (v_i . v_j) k(|r_i - r_j|^2)`` (Eq. 3), whenever it is needed and never stored.

    Parameters
    ----------
    sizes : sequence of int
        Nodes at every level, inputs first: ``[784, 128, 10]``.
    dim : int, default 3
        Dimensions n of the positions (and of the dipoles).
    activation : str or sequence of str, default "relu"
        Of the hidden layers: one for all, or one each. relu, leaky_relu, elu, gelu (its tanh formula), tanh, sigmoid,
        softplus, linear, softmax.
    output : str, default "softmax"
        Activation of the last layer.
    loss : str, optional
        categorical_crossentropy (default with softmax), binary_crossentropy (default with sigmoid), mse (default
        otherwise) or mae; all are means over the batch of a sum over the outputs, mse of half the squares.
    model : {"dipole", "charge_phase"}, default "dipole"
        What a particle carries. charge_phase: ``w_ij = q_j cos(theta_i - theta_j) k(s_ij)`` (the paper's Appendix).
    shared : bool, default True
        Whether the output particles of a layer are the input particles of the next. Unshared layers have two node sets
        of their own each.
    potential : str, default "gaussian"
        The pairwise function k(s).
    method : {"auto", "direct", "mehler"}, default "auto"
    rtol : float, default 1e-3
        How the layers are computed, as `pn_gpu.particle_linear` takes them; planned anew as the particles move.
    dropout : float, default 0
        Probability with which a hidden activation is dropped in training, 0 <= dropout < 1.
    seed : int or None, default None
        Of the initial parameters, and of `fit` where that is given none; one seed gives the same network on every
        backend. None draws a fresh one.
    backend : str or Backend, default "auto"
        "numpy", "torch", "torch:cuda:0", "cupy", ...; "auto" takes a GPU where there is one, else NumPy.
    dtype : {"float32", "float64"}, default "float32"

    Raises
    ------
    ValueError, TypeError
        If an argument is out of range, of the wrong type or an unknown name.
    ImportError
        If the backend's library is missing.
    """

    kind = "particle"

    def __init__(
        self,
        sizes: Sequence[int],
        dim: int = 3,
        *,
        activation: str | Sequence[str] = "relu",
        output: str = "softmax",
        loss: str | None = None,
        model: str = "dipole",
        shared: bool = True,
        potential: str = "gaussian",
        method: str = "auto",
        rtol: float = 1e-3,
        dropout: float = 0.0,
        seed: int | None = None,
        backend: str | Backend = "auto",
        dtype: str = "float32",
    ) -> None:
        super().__init__(
            sizes,
            activation=activation,
            output=output,
            loss=loss,
            dropout=dropout,
            seed=seed,
            backend=backend,
            dtype=dtype,
        )
        self.dim = check_integer("dim", dim, low=1)
        self.model = get_node_model(model)
        self.shared = check_flag("shared", shared)
        # By name alone, since a saved network names its potential: an unregistered one is an error here.
        self.potential = potentials.get(potentials.get(potential).name).name
        check_method(method, rtol)
        self.method, self.rtol = method, float(rtol)
        self.connections = self._make_connections()
        rng = np.random.default_rng(self._seeds)
        values: dict[str, np.ndarray[Any, Any]] = {}
        for index, (num, is_output) in enumerate(self._node_sets()):
            for name, value in self.model.initialise(rng, num, self.dim, is_output).items():
                values[f"particles.{index}.{name}"] = value
        for layer in self.connections:
            values |= layer.initialise(rng)
        self._set_parameters(values)

    def _make_connections(self) -> tuple[Layer, ...]:
        return tuple(self._connection(index) for index in range(len(self.sizes) - 1))

    def _connection(self, index: int) -> ParticleLayer:
        input_set, output_set = (index, index + 1) if self.shared else (2 * index, 2 * index + 1)
        return ParticleLayer(
            index,
            self.sizes[index],
            self.sizes[index + 1],
            self._activations[index],
            input_set=input_set,
            output_set=output_set,
            model=self.model,
            potential=self.potential,
            method=self.method,
            rtol=self.rtol,
            planner=MethodPlanner(self.method, self.rtol, self.potential),
        )

    def _node_sets(self) -> list[tuple[int, bool]]:
        """(number of particles, whether some layer has the set as outputs) for every node set."""
        if self.shared:
            return [(num, index > 0) for index, num in enumerate(self.sizes)]
        return [
            (num, is_output)
            for layer in self.connections
            for num, is_output in ((layer.num_in, False), (layer.num_out, True))
        ]

    @property
    def particles(self) -> list[ParameterGroup]:
        """The node sets: ``particles[k].positions`` [N, n] and ``particles[k].dipoles`` [N, n].

        Of the charge-phase model: ``positions`` [N, n], ``phases`` [N] and, of sets that are outputs, ``charges`` [N].
        """
        return self.parameters.particles

    def weight(self, index: int) -> Any:
        """The implicit weight matrix [N, M] of one layer, stored whole: for plots and export."""
        layer = self.connections[check_integer("index", index, low=0, high=len(self.connections) - 1)]
        assert isinstance(layer, ParticleLayer)
        return dense_weight(*layer.particles(self.parameters), self.potential)

    def to_dense(self) -> DenseNetwork:
        """A `DenseNetwork` that computes the same function with stored weights: O(N M) memory per layer."""
        dense = DenseNetwork(**self._common_architecture(), backend=self.backend, dtype=self.dtype, seed=0)
        for index, layer in enumerate(self.connections):
            dense.parameters[f"{layer.prefix}.weight"] = self.weight(index)
            dense.parameters[f"{layer.prefix}.bias"] = self.parameters[f"{layer.prefix}.bias"]
        return dense

    def architecture(self) -> dict[str, Any]:
        return self._common_architecture() | {
            "dim": self.dim,
            "model": self.model.name,
            "shared": self.shared,
            "potential": self.potential,
            "method": self.method,
            "rtol": self.rtol,
        }
