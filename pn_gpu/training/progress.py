"""A progress bar over the steps of a training run, with loss, accuracy and time left."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
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
        self._bar: Any = None
        # Without a console (pythonw, a graphical program) there is no standard error.
        if shown is False or sys.stderr is None or sys.stderr.closed or (shown is None and not sys.stderr.isatty()):
            return
        from tqdm import tqdm  # as slow to import as the rest of the library

        with self._unless_nobody_reads():
            self._bar = tqdm(
                total=total, initial=done, unit="step", dynamic_ncols=True, mininterval=0.2, leave=True, file=sys.stderr
            )

    def step(self) -> None:
        """One more step."""
        if self._bar is not None:
            with self._unless_nobody_reads():
                self._bar.update()

    def epoch(self, epoch: int, measurements: dict[str, float]) -> None:
        """Show the measurements of an epoch (counted from 1)."""
        if self._bar is None:
            return
        shown = {name: f"{value:.4f}" for name, value in measurements.items() if "loss" in name or "accuracy" in name}
        with self._unless_nobody_reads():
            self._bar.set_description(f"epoch {epoch}/{self._num_epochs}", refresh=False)
            self._bar.set_postfix(shown)

    def say(self, message: str) -> None:
        """A line that does not disturb the bar."""
        if self._bar is not None:
            with self._unless_nobody_reads():
                self._bar.write(message, file=sys.stderr)

    def close(self) -> None:
        """Leave the bar as it stands."""
        if self._bar is not None:
            with self._unless_nobody_reads():
                self._bar.close()

    @contextmanager
    def _unless_nobody_reads(self) -> Iterator[None]:
        """A stream that is closed meanwhile ends the bar, never the training."""
        try:
            yield
        except (OSError, ValueError):
            bar, self._bar = self._bar, None
            if bar is not None:
                bar.disable = True  # or it would write once more when it is collected
