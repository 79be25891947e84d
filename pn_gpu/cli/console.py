"""What a command prints, where there may be nobody to read it: a closed stream, `pn-gpu train | head`, pythonw."""

from __future__ import annotations

import os
import sys


def open_closed_streams() -> None:
    """Let a stream that was closed lead nowhere, before another file gets its number."""
    for number, name, mode in ((0, "stdin", "r"), (1, "stdout", "w"), (2, "stderr", "w")):
        if getattr(sys, name) is None:
            file = open(os.devnull, mode, encoding="utf-8")  # noqa: SIM115 - for as long as the process lives
            setattr(sys, name, file)
            try:
                os.fstat(number)
            except OSError:
                os.dup2(file.fileno(), number)


def say(text: str = "") -> None:
    """Print a line that may be lost: what goes on must not end because nobody reads about it."""
    try:
        print(text, flush=True)
    except (OSError, ValueError):
        silence()


def note(text: str) -> None:
    """A line on standard error, for what the data do not say."""
    print(f"pn-gpu: note: {text}", file=sys.stderr)


def silence() -> None:
    """Let standard output lead nowhere; also what lies in its buffer, which would be written when Python ends."""
    try:
        number = sys.stdout.fileno()
    except (OSError, ValueError):
        sys.stdout = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115 - for as long as the process lives
        return
    with open(os.devnull, "w", encoding="utf-8") as nowhere:
        os.dup2(nowhere.fileno(), number)


def is_terminal() -> bool:
    """Whether progress can be drawn on standard error."""
    return sys.stderr is not None and not sys.stderr.closed and sys.stderr.isatty()
