"""A progress bar over the steps of a training run, with loss, accuracy and time left."""

from __future__ import annotations

import sys
from typing import Any


class Progress:
    """A bar on standard error, or nothing where it is switched off.

    Parameters
    ----------
    shown : bool or None
        None shows it where standard error is a terminal.
    total : int or None
        Steps of the whole run.
    done : int
        Steps done before (a resumed run).
    num_epochs : int
    """

    def __init__(self, shown: bool | None, total: int | None, done: int, num_epochs: int) -> None:
        self._num_epochs = num_epochs
        from tqdm import tqdm  # as slow to import as the rest of the library

        off = not sys.stderr.isatty() if shown is None else not shown
        self._bar: Any = tqdm(
            total=total,
            initial=done,
            disable=off,
            unit="step",
            dynamic_ncols=True,
            mininterval=0.2,
            leave=True,
        )
        self.shown = not off

    def step(self) -> None:
        """One more step."""
        self._bar.update()

    def epoch(self, epoch: int, measurements: dict[str, float]) -> None:
        """Show the measurements of an epoch (counted from 1)."""
        if not self.shown:
            return
        self._bar.set_description(f"epoch {epoch}/{self._num_epochs}", refresh=False)
        shown = {name: f"{value:.4f}" for name, value in measurements.items() if "loss" in name or "accuracy" in name}
        self._bar.set_postfix(shown)

    def say(self, message: str) -> None:
        """A line that does not disturb the bar."""
        if self.shown:
            self._bar.write(message, file=sys.stderr)

    def close(self) -> None:
        """Leave the bar as it stands."""
        self._bar.close()
