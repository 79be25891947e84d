"""What a training run recorded."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path

from pn_gpu.files import replacing


class History(dict[str, list[float]]):
    """Measurements of every epoch, by name: a dict of lists, so ``pandas.DataFrame(history)`` is a table of the run.

    ``loss``, ``accuracy``, ``val_loss``, ``val_accuracy``, ``lr`` (of the epoch's last step) and ``seconds``; what does
    not apply is not there.

    Attributes
    ----------
    stop_reason : str
        Why training ended: "finished", "interrupted", or what a callback said.
    """

    def __init__(self, metrics: Mapping[str, list[float]] | None = None, stop_reason: str = "") -> None:
        super().__init__(metrics or {})
        self.stop_reason = stop_reason

    def __missing__(self, name: str) -> list[float]:
        raise KeyError(f"history: got {name!r}, have {', '.join(self) or 'nothing yet'}")

    @property
    def metrics(self) -> dict[str, list[float]]:
        """The measurements as a plain dict."""
        return dict(self)

    @property
    def num_epochs(self) -> int:
        """How many epochs were trained."""
        return len(self.get("loss", ()))

    @property
    def last(self) -> dict[str, float]:
        """The measurements of the last epoch."""
        return {name: values[-1] for name, values in self.items()}

    def append(self, measurements: dict[str, float]) -> None:
        """Add one epoch."""
        for name, value in measurements.items():
            self.setdefault(name, []).append(value)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the metrics as JSON, whole or not at all."""
        with replacing(path) as temporary:
            Path(temporary).write_text(json.dumps(self, indent=1), encoding="utf-8")
