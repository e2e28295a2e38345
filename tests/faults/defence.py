"""One line that defends the product, and the test that misses it."""

from __future__ import annotations

from typing import NamedTuple


class Defence(NamedTuple):
    """`text` stands once in `file`; with `instead` in its place, `test` has to fail.

    `test` is one of the fault suite, or below `tests` where it names a folder. One that is `slow`
    is proved only on demand: the test waits in vain, for minutes.
    """

    name: str
    test: str
    file: str
    text: str
    instead: str
    slow: bool = False

    @property
    def path(self) -> str:
        """`test`, from the top of the checkout."""
        return f"tests/{self.test}" if self.is_elsewhere else f"tests/faults/{self.test}"

    @property
    def is_elsewhere(self) -> bool:
        """True if its test is none of the fault suite."""
        return "/" in self.test.partition("::")[0]
