"""What every loader returns."""

from __future__ import annotations

from dataclasses import dataclass, field

from pn_gpu.data.arrays import Array


@dataclass(frozen=True, eq=False)
class Dataset:
    """Inputs and targets for training and for testing.

    Attributes
    ----------
    name : str
        What the data are called: "digits", "mnist", or the name of the folder or file.
    x_train, x_test : float32 array, [B, N]
        Inputs, one row a sample. Pixels lie in [0, 1].
    y_train, y_test : int64 array, [B], or float32 array, [B, K]
        Labels 0..K-1 (classification), or targets (regression).
    num_classes : int or None
        K for labels, None for targets.
    image_shape : tuple of int or None
        What a row of x is reshaped to for a picture, such as (28, 28); None where the inputs are no images.
    """

    name: str
    x_train: Array = field(repr=False)
    y_train: Array = field(repr=False)
    x_test: Array = field(repr=False)
    y_test: Array = field(repr=False)
    num_classes: int | None
    image_shape: tuple[int, ...] | None = None

    @property
    def num_features(self) -> int:
        """N, the inputs of a network for these data."""
        return int(self.x_train.shape[1])

    @property
    def num_outputs(self) -> int:
        """The outputs of a network for these data: one a class, or one a target."""
        return int(self.y_train.shape[1]) if self.num_classes is None else self.num_classes
