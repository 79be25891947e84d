"""Ways to train that have a name."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pn_gpu.checks import check_choice, check_number
from pn_gpu.training.optimizers import Adam, Optimizer, RMSProp
from pn_gpu.training.schedules import OneCycle

RECIPES = ("modern", "paper")

MODERN_LR, PAPER_LR = 0.02, 0.005

# The paper's batches; a small data set needs smaller ones to get enough steps, and something against overfitting.
BATCH_SIZE, SMALL_BATCH_SIZE, SMALL_DATA = 100, 32, 10_000

# Of the modern recipe, for small data: a penalty on dipoles like a normal distribution that they are expected to have,
# which counts as much as this many examples of a classification. Chosen on eight tables beside those that
# bench/tables.py reports, and on other splits of these.
PENALTY_EXAMPLES, REGRESSION_L2 = 2.0, 0.001

# Beside it, smoothed labels: on splits of seven tables that bench/tables.py does not report, 0.4 to 3.6 points more
# right answers on four, as many within the errors on three; probabilities of a class beyond doubt end near 0.9.
LABEL_SMOOTHING = 0.1

# Also of the modern recipe, for small data: components of a dipole where a hidden node speaks to more than one output,
# each of which wants a direction of its own. Chosen on 1,437 pooled images of MNIST, and on made-up and other tables
# and other splits than bench/tables.py reports; a single number did no better by it.
MANY_OUTPUTS, DIPOLE_DIM_OF_MANY = 2, 8


@dataclass(frozen=True)
class Recipe:
    """How to train, and which hidden activation goes with it.

    Attributes
    ----------
    name : str
    activation : str
        Of the hidden layers.
    optimizer : Optimizer
    initialisation : str
        Of a `ParticleNetwork`.
    dims : (int, int)
        Dimensions n of positions and d of dipoles that a `ParticleNetwork` of the dipole model does best with.
    shared : bool
        Whether its layers share node sets.
    """

    name: str
    activation: str
    optimizer: Optimizer
    initialisation: str
    dims: tuple[int, int]
    shared: bool

    @property
    def fit_options(self) -> dict[str, Any]:
        """Keyword arguments of `Network.fit`."""
        return {"optimizer": self.optimizer, "remove_mean_translation": True}


def default_batch_size(num_examples: int) -> int:
    """Examples in a batch, for a data set of that size."""
    return SMALL_BATCH_SIZE if num_examples < SMALL_DATA else BATCH_SIZE


def default_l2(recipe: str, num_examples: float, is_classification: bool) -> float:
    """Strength of the `L2` penalty on dipoles (and on a dense network's weights), for a data set of that size."""
    if recipe != "modern" or num_examples >= SMALL_DATA:
        return 0.0
    return PENALTY_EXAMPLES / num_examples if is_classification else REGRESSION_L2


def default_label_smoothing(recipe: str, num_examples: float, is_classification: bool) -> float:
    """The part of a target that is shared out among the classes, for a data set of that size."""
    is_for = recipe == "modern" and num_examples < SMALL_DATA and is_classification
    return LABEL_SMOOTHING if is_for else 0.0


def default_dims(recipe: str, num_examples: int, num_outputs: int) -> tuple[int, int]:
    """Dimensions n of positions and d of dipoles, for a data set of that size and a network of so many outputs."""
    dim, dipole_dim = get_recipe(recipe).dims
    if recipe == "modern" and num_examples < SMALL_DATA and num_outputs >= MANY_OUTPUTS:
        dipole_dim = DIPOLE_DIM_OF_MANY
    return dim, dipole_dim


def get_recipe(name: str, lr: float | None = None) -> Recipe:
    """The recipe called ``name``.

    Parameters
    ----------
    name : {"modern", "paper"}
        modern: Adam with a one-cycle schedule, a scaled start, leaky ReLU, under which no hidden node dies for good,
        (n, d) = (2, 4), which learns more than the paper's (3, 3) with as many parameters (`default_dims` says (2, 8)
        for small data of several outputs), and node sets of its own for every layer: a hidden node then hears from one
        place and speaks from another, for a few numbers more. paper: RMSProp at a constant rate, decay 0.99, the
        paper's start, shared node sets, and ReLU.
    lr : float, optional
        (Peak) learning rate; default 0.02 (modern) and 0.005 (paper).

    Raises
    ------
    ValueError
        If the name is unknown or the rate is not above 0.
    """
    check_choice("recipe", name, RECIPES)
    rate = None if lr is None else check_number("lr", lr, low=0, low_open=True)
    if name == "paper":
        return Recipe(
            "paper", "relu", RMSProp(PAPER_LR if rate is None else rate, decay=0.99), "paper", (3, 3), shared=True
        )
    adam = Adam(OneCycle(MODERN_LR if rate is None else rate))
    return Recipe("modern", "leaky_relu", adam, "scaled", (2, 4), shared=False)
