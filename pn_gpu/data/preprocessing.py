"""What was done to data before a network saw them, kept with the network."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pn_gpu.data.input_coding import InputCoding
from pn_gpu.data.target_coding import TargetCoding, target_coding_from_json


@dataclass(frozen=True)
class Preprocessing:
    """Inputs and targets as they are in a file, and as a network takes and gives them.

    It is data alone, and lies in the network's file (`to_json`), so that `pn-gpu predict` and `pn-gpu evaluate` do to
    any container of data what was done in training.

    Attributes
    ----------
    inputs : InputCoding
        ``inputs.encode(name, x)``: an array [B, ...] or a `Table` as the network's inputs, float32 [B, N].
    targets : Classes or Numbers
        ``targets.encode(name, y)``: labels or targets as the network's; ``targets.decode(...)``: the way back, of class
        numbers [B] or of outputs [B, K].
    target_column : str or int or None
        The column of a table that holds the target.
    """

    inputs: InputCoding
    targets: TargetCoding
    target_column: str | int | None = None

    def to_json(self) -> dict[str, Any]:
        """As plain data."""
        return {
            "inputs": self.inputs.to_json(),
            "targets": self.targets.to_json(),
            "target_column": self.target_column,
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Preprocessing:
        """What `to_json` made.

        Raises
        ------
        ValueError
            If it is damaged.
        """
        try:
            column = data["target_column"]
            if not (column is None or isinstance(column, str | int)):
                raise ValueError(f"target_column: got {column!r}, want a name or a number")
            return cls(InputCoding.from_json(data["inputs"]), target_coding_from_json(data["targets"]), column)
        except (AttributeError, IndexError, KeyError, OverflowError, TypeError, ValueError) as error:
            raise ValueError(f"the preprocessing in it cannot be read ({error})") from None
