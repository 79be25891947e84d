"""What every fuzz of a reader shares: a limit of memory, and many damaged files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

MORE_MEMORY = 2**28

Edit = tuple[int, int, bytes]


def limit_memory() -> None:
    """Let this process have little more than it has, where the system can do that."""
    try:
        import resource
    except ImportError:  # Windows
        return
    pages = Path("/proc/self/statm")
    if pages.exists():
        now = int(pages.read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (now + MORE_MEMORY, resource.RLIM_INFINITY))


def damaged_bytes(content: bytes, more: st.SearchStrategy[Edit] | None = None) -> st.SearchStrategy[bytes]:
    """The content with bytes changed, put in, or cut off; ``more`` are further edits: place, length and new bytes."""
    place = st.integers(0, len(content))
    edit: st.SearchStrategy[Edit] = st.tuples(place, st.sampled_from([0, 1, 4]), st.binary(max_size=4))
    edits = st.lists(edit if more is None else edit | more, max_size=4)

    def apply(drawn: tuple[list[Edit], int]) -> bytes:
        result = content
        for start, length, new in drawn[0]:
            result = result[:start] + new + result[start + length :]
        return result[: drawn[1] or None]

    return st.tuples(edits, place | st.just(0)).map(apply)


def meet(path: Path, damaged: st.SearchStrategy[bytes], examples: int, read: Callable[[Path], None]) -> None:
    """Read ``examples`` damaged files; the good one lies at ``path`` again afterwards."""

    @settings(
        max_examples=examples,
        deadline=None,
        derandomize=True,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(damaged)
    def one(content: bytes) -> None:
        path.write_bytes(content)
        read(path)

    good = path.read_bytes()
    one()
    path.write_bytes(good)
