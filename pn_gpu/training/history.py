"""What a training run recorded."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from pn_gpu.files import replacing


@dataclass
class History:
    """Measurements of every epoch.

    Attributes
    ----------
    metrics : dict of lists
        ``loss``, ``accuracy``, ``val_loss``, ``val_accuracy``, ``lr`` (of the epoch's last step) and ``seconds``, an
        entry an epoch; what does not apply is not there. ``history["loss"]`` is short for ``history.metrics["loss"]``.
    stop_reason : str
        Why training ended: "finished", "interrupted", or what a callback said.
    """

    metrics: dict[str, list[float]] = field(default_factory=dict)
    stop_reason: str = ""

    def __getitem__(self, name: str) -> list[float]:
        if name not in self.metrics:
            raise KeyError(f"history: got {name!r}, have {', '.join(self.metrics) or 'nothing yet'}")
        return self.metrics[name]

    def __contains__(self, name: object) -> bool:
        return name in self.metrics

    def __iter__(self) -> Iterator[str]:
        return iter(self.metrics)

    @property
    def num_epochs(self) -> int:
        """How many epochs were trained."""
        return len(self.metrics.get("loss", ()))

    @property
    def last(self) -> dict[str, float]:
        """The measurements of the last epoch."""
        return {name: values[-1] for name, values in self.metrics.items()}

    def append(self, measurements: dict[str, float]) -> None:
        """Add one epoch."""
        for name, value in measurements.items():
            self.metrics.setdefault(name, []).append(value)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the metrics as JSON, whole or not at all."""
        with replacing(path) as temporary:
            Path(temporary).write_text(json.dumps(self.metrics, indent=1), encoding="utf-8")
