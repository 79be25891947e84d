"""What every loader returns."""

from __future__ import annotations

from dataclasses import dataclass, field

from pn_gpu.data.arrays import Array
from pn_gpu.data.preprocessing import Preprocessing
from pn_gpu.data.target_coding import Classes


@dataclass(frozen=True, eq=False)
class Dataset:
    """Inputs and targets for training and for testing, as a network takes them.

    Attributes
    ----------
    name : str
        What the data are called: "digits", "mnist", or the name of the folder or file.
    x_train, x_test : float32 array, [B, N]
        Inputs, one row a sample. Pixels lie in [0, 1]; columns of a table have the mean 0 and the deviation 1.
    y_train, y_test : int64 array, [B], or float32 array, [B, K]
        Classes 0..K-1, or targets with the mean 0 and the deviation 1.
    preprocessing : Preprocessing
        What was done to the data, and the way back to their own labels and units.
    image_shape : tuple of int or None
        What a row of x is reshaped to for a picture, such as (28, 28); None where the inputs are no images.
    target : str
        What the targets are, in a few words.
    notes : tuple of str
        What was decided that the data do not say, and what was left out or filled in.
    """

    name: str
    x_train: Array = field(repr=False)
    y_train: Array = field(repr=False)
    x_test: Array = field(repr=False)
    y_test: Array = field(repr=False)
    preprocessing: Preprocessing = field(repr=False)
    image_shape: tuple[int, ...] | None = None
    target: str = ""
    notes: tuple[str, ...] = ()

    @property
    def num_classes(self) -> int | None:
        """K for classes, None for targets that are numbers."""
        targets = self.preprocessing.targets
        return targets.num_outputs if isinstance(targets, Classes) else None

    @property
    def num_features(self) -> int:
        """N, the inputs of a network for these data."""
        return int(self.x_train.shape[1])

    @property
    def num_outputs(self) -> int:
        """The outputs of a network for these data: one a class, or one a target."""
        return self.preprocessing.targets.num_outputs
