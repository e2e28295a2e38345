"""One line that defends the product, and the test that misses it."""

from __future__ import annotations

from typing import NamedTuple


class Defence(NamedTuple):
    """`text` stands once in `file`; with `instead` in its place, `test` has to fail.

    One that is `slow` is proved only on demand: the test waits in vain, for minutes.
    """

    name: str
    test: str
    file: str
    text: str
    instead: str
    slow: bool = False
