"""A network whose layers connect node sets of particles."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any, cast

import numpy as np

from pn_gpu.backends import Backend, to_numpy
from pn_gpu.checks import check_choice, check_flag, check_integer
from pn_gpu.kernels import potentials
from pn_gpu.model import initialisation as initialisations
from pn_gpu.model.calibration import calibrate
from pn_gpu.model.dipole_field import DipoleFieldModel, check_dipole_places, field_matrix, initial_length
from pn_gpu.model.examples import as_inputs
from pn_gpu.model.fixed_positions import check_places
from pn_gpu.model.layers import Layer, ParticleLayer
from pn_gpu.model.node_models import NodeModel, get_node_model
from pn_gpu.model.parameters import ParameterGroup
from pn_gpu.networks.dense_network import DenseNetwork
from pn_gpu.networks.network import Network
from pn_gpu.operator import dense_weight
from pn_gpu.planning import MethodPlanner
from pn_gpu.planning.plan import check_method

Array = Any

# Numbers that may be fixed, and those of a field, which are trained.
INPUT_POSITIONS, DIPOLE_PLACES = "particles.0.positions", "particles.0.dipole_places"
DIPOLE_VALUES = "particles.0.dipole_values"


class ParticleNetwork(Network):
    """A Particle Network: O(N + M) parameters per layer instead of O(N M).

    Every level of nodes is a set of particles; the weight between two nodes is computed from their particles,
    ``w_ij = (v_i . v_j) k(|r_i - r_j|^2)`` (Eq. 3), whenever it is needed and never stored.

    Parameters
    ----------
    sizes : sequence of int
        Nodes at every level, inputs first: ``[784, 128, 10]``.
    dim : int, optional
        Dimensions n of the positions: by default those of ``positions``, else 3.
    positions : array [N, n], optional
        Where the inputs are, if that is known: pixels of an image, sensors, samples in time. They stay as given: the
        file of the network holds them, but they are not trained, penalised or counted as parameters. All other
        particles start around 0 and the unit of length is the width of the potential, so centre them on 0 and scale
        them to a standard deviation of about 1, as `pn_gpu.grid_positions` does; and take ``shared=False``, which is
        far more accurate here. `pn_gpu.with_inputs` exchanges the inputs of a trained network. By default positions are
        drawn and trained.
    dipole_places : array [G, n], optional
        Places, in the units of ``positions`` and beside them, between which the dipoles of the inputs are interpolated:
        v_i = sum_g I_ig u_g with a fixed matrix I (`pn_gpu.interpolation_matrix`, which takes O(G^3 + G^2 N) time once;
        it is kept, N G numbers) and trained u_g, ``particles[0].dipole_values`` [G, d]. Neighbouring pixels have
        dipoles that are alike, so that `pn_gpu.grid_positions` of a far coarser grid does: the input costs G d numbers
        instead of N d. Measured: on MNIST, 28 x 28, the places of 7 x 7 are best for few numbers; on signals of 40
        samples without much likeness from one to the next, free dipoles are. For the dipole model. By default every
        input has a dipole of its own.
    dipole_dim : int, optional
        Dimensions d of the dipoles; by default those of the positions. A particle has n + d parameters. Few dimensions
        of the positions make wide layers fast, many of the dipoles make them accurate: measured on MNIST, (n, d) =
        (2, 4) is better than (3, 3), at as many parameters, and (1, 8) is best for wide layers by accuracy and by time.
        2 in the charge-phase model.
    initialisation : {"scaled", "paper"}, default "scaled"
        Positions from N(0, 0.5^2) and dipoles of random directions in either case. paper: dipoles of unit length, under
        which activations grow with the width and with every layer. scaled: dipoles of the length, one for each node
        set, that makes the values z of every layer start at about unit size, and logits at half of it; by a formula for
        inputs of unit mean square, which the first `fit` replaces by a measurement (`calibrate`). Training then takes
        steps of dipoles in proportion to their size, so that one learning rate serves every width.
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
        Whether the output particles of a layer are the input particles of the next, as in the paper. Unshared layers
        have two node sets of their own each, n + d numbers more for each hidden node, and learn more: on MNIST
        784-128-10, n = 3, 97.3 instead of 96.6 %. The command line and the estimators leave them unshared.
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
        dim: int | None = None,
        *,
        positions: Array | None = None,
        dipole_places: Array | None = None,
        dipole_dim: int | None = None,
        initialisation: str = "scaled",
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
        given, self.dim = check_places(positions, self.sizes[0], dim)
        places = check_dipole_places(dipole_places, given)
        self.model = get_node_model(model)
        if places is not None and self.model.name != "dipole":
            raise ValueError(f"dipole_places: got some with the model {model!r}, want none, or 'dipole'")
        self.dipole_dim = self.model.check_dipole_dim(dipole_dim, self.dim)
        self.initialisation = check_choice("initialisation", initialisation, initialisations.INITIALISATIONS)
        self.shared = check_flag("shared", shared)
        # By name alone, since a saved network names its potential: an unregistered one is an error here.
        self.potential = potentials.get(potentials.get(potential).name).name
        check_method(method, rtol)
        self.method, self.rtol = method, float(rtol)
        fixed = {} if given is None else {INPUT_POSITIONS: given}
        if places is not None:
            fixed[DIPOLE_PLACES] = places
        self._num_dipole_places = None if places is None else len(places)
        self.connections = self._make_connections()
        rng = np.random.default_rng(self._seeds)
        values: dict[str, np.ndarray[Any, Any]] = {}
        for index, (model_of_set, num, is_output) in enumerate(self._node_sets()):
            for name, value in model_of_set.initialise(rng, num, self.dim, self.dipole_dim, is_output).items():
                values[f"particles.{index}.{name}"] = value
        for layer in self.connections:
            values |= layer.initialise(rng)
        if self.initialisation == "scaled":
            for index, size in enumerate(self._dipole_sizes()):
                values[self._size_parameter(index)] *= size
        if given is not None:
            values.pop(INPUT_POSITIONS, None)
        if given is not None and places is not None:
            values[DIPOLE_VALUES] *= initial_length(field_matrix(places, given))
        self._set_parameters(values, fixed)
        self._drawn = self._digest()

    def _dipole_sizes(self) -> list[float]:
        """How large the dipoles (or charges) of every layer's outputs start."""
        hidden = zip(self._activations, self.sizes[1:-1], strict=False)
        return initialisations.dipole_sizes(
            self.sizes,
            self.dipole_dim,
            self.potential,
            self.dim,
            [initialisations.activation_moments(activation.forward, num) for activation, num in hidden],
            coherent=self.shared and self.model.passes_size,
        )

    def _size_parameter(self, layer: int) -> str:
        """The parameter whose size sets that of a layer's weights: the dipoles or charges of its outputs."""
        output_set = layer + 1 if self.shared else 2 * layer + 1
        return f"particles.{output_set}.{self.model.size_parameter}"

    def _digest(self) -> str:
        return hashlib.sha256(to_numpy(self.parameters.flat).tobytes()).hexdigest()

    @property
    def _is_as_drawn(self) -> bool:
        return self._digest() == self._drawn

    def to(self, backend: str | Backend | None = None, dtype: str | None = None) -> ParticleNetwork:
        other = super().to(backend, dtype)
        if self._is_as_drawn:
            other._drawn = other._digest()
        return other

    def calibrate(self, x: Array) -> bool:
        """Give the values z of every layer unit size on these inputs, the last layer's half of it.

        The dipoles of every layer's output set are multiplied by a number, first layer first, as LSUV does
        (layer-sequential unit variance; Mishkin and Matas, 2016). `fit` does it once for a network with scaled
        initialisation whose parameters are still those drawn.

        Parameters
        ----------
        x : array, [B, N]
            Inputs as in training; at most 512 rows, evenly spread, are used.

        Returns
        -------
        bool
            False, and nothing is changed, if the inputs cannot tell: a single row, or rows that are all the same.

        Raises
        ------
        ValueError, TypeError
            As `forward`.
        """
        return calibrate(self, as_inputs(x, self))

    def scale_outputs(self, layer: int, factor: float) -> None:
        name = self._size_parameter(layer)
        self.parameters[name] = factor * self.parameters[name]
        for connection in self.connections:
            connection.forget_plan()

    def prepare_training(self, x: Array, weights: Array | None = None) -> None:
        if self.initialisation == "scaled" and self._is_as_drawn:
            calibrate(self, x, weights)

    def parameter_sizes(self) -> dict[str, float]:
        if self.initialisation == "paper":
            return {}
        sized = [f"particles.{index}.{model.size_parameter}" for index, (model, *_) in enumerate(self._node_sets())]
        names = [name for name in sized if name in self.parameters]
        return {name: initialisations.mean_length(self.parameters[name]) for name in names}

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
            input_model=self.model if index or not self.has_dipole_field else DipoleFieldModel(self.backend),
            output_model=self.model,
            potential=self.potential,
            method=self.method,
            rtol=self.rtol,
            planner=MethodPlanner(self.method, self.rtol, self.potential),
        )

    def _node_sets(self) -> list[tuple[NodeModel, int, bool]]:
        """(what it carries, for how many particles or places of a field, whether outputs of a layer) of node sets."""
        layers = cast(tuple[ParticleLayer, ...], self.connections)
        first = (layers[0].input_model, self._num_dipole_places or layers[0].num_in, False)
        rest = [(layer.output_model, layer.num_out, True) for layer in layers]
        if self.shared:
            return [first, *rest]
        inputs = [first, *((layer.input_model, layer.num_in, False) for layer in layers[1:])]
        return [node_set for pair in zip(inputs, rest, strict=True) for node_set in pair]

    @property
    def particles(self) -> list[ParameterGroup]:
        """The node sets: ``particles[k].positions`` [N, n] and ``particles[k].dipoles`` [N, d].

        Of the charge-phase model: ``positions`` [N, n], ``phases`` [N] and, of sets that are outputs, ``charges`` [N].
        Of inputs with `dipole_places`: these [G, n] and ``dipole_values`` [G, d] in the stead of ``dipoles``.
        """
        return self.parameters.particles

    def dipoles(self, index: int) -> Array:
        """The dipoles [N, d] of a node set as layers have them: of a field, interpolated; of phases and charges."""
        model = self._node_sets()[check_integer("index", index, low=0, high=len(self.particles) - 1)][0]
        return model.dipoles(self.particles[index], as_output="charges" in self.particles[index])

    @property
    def has_fixed_inputs(self) -> bool:
        """Whether the input positions were given, and stay: `positions`."""
        return INPUT_POSITIONS in self.parameters.fixed

    @property
    def has_dipole_field(self) -> bool:
        """Whether the dipoles of the inputs are interpolated between few places: `dipole_places`."""
        return self._num_dipole_places is not None

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

    @classmethod
    def complete_architecture(cls, saved: Mapping[str, Any]) -> dict[str, Any]:
        complete = {"initialisation": "paper"} | dict(saved)  # older files could say neither
        if complete.get("dipole_dim") is None and "dim" in complete:
            complete["dipole_dim"] = 2 if complete.get("model") == "charge_phase" else complete["dim"]
        return complete

    def architecture(self) -> dict[str, Any]:
        return (
            self._common_architecture()
            | {
                "dim": self.dim,
                "dipole_dim": self.dipole_dim,
                "initialisation": self.initialisation,
                "model": self.model.name,
                "shared": self.shared,
                "potential": self.potential,
                "method": self.method,
                "rtol": self.rtol,
            }
            | {name.rpartition(".")[2]: to_numpy(value) for name, value in self.parameters.fixed.items()}
        )
