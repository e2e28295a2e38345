"""Proves that fault tests can fail: switches one defence off at a time, on a copy of the tree.

`python -m tests.faults.mutations [WORD ...]` takes the defences whose name or test contains one of
the words, or all that are not slow. First all their tests must pass on the unchanged copy, then
each must fail once its defence is gone. Exits with 1 if one does not.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final
from xml.etree import ElementTree as ET

from tests.faults.defence import Defence
from tests.faults.defences import DEFENCES

CHECKOUT: Final = Path(__file__).resolve().parent.parent.parent
MOST_SECONDS: Final = 900
GREEN: Final = "green"
RED: Final = "red"


@contextmanager
def copied() -> Iterator[Path]:
    """All files of the working tree that git knows or would take, in a folder of their own."""
    top = Path(tempfile.mkdtemp(prefix="cadenza-mutations-"))
    top.chmod(0o755)  # the embedded PostgreSQL of root runs as another user
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=CHECKOUT,
        capture_output=True,
        check=True,
    )
    try:
        for name in listed.stdout.decode().split("\0"):
            if name and (CHECKOUT / name).is_file():
                (top / "tree" / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(CHECKOUT / name, top / "tree" / name)
        yield top / "tree"
    finally:
        shutil.rmtree(top, ignore_errors=True)


@contextmanager
def without(defence: Defence, tree: Path) -> Iterator[None]:
    """The defence is switched off while the block runs."""
    file = tree / defence.file
    source = file.read_text()
    if source.count(defence.text) != 1:
        raise SystemExit(f"{defence.file}: {defence.text!r} stands {source.count(defence.text)}x")
    file.write_text(source.replace(defence.text, defence.instead))
    try:
        yield
    finally:
        file.write_text(source)


def outcome(ids: Sequence[str], tree: Path) -> str:
    """`green`, `red`, or what else came of running these tests."""
    report = tree.parent / "junit.xml"
    report.unlink(missing_ok=True)
    options = ["-q", "-m", "", "-p", "no:cacheprovider", f"--junitxml={report}"]
    run = subprocess.run(
        [sys.executable, "-m", "pytest", *options, *ids],
        cwd=tree,
        env={**os.environ, "CADENZA_TEST_DATA_DIR": str(tree.parent / "data")},
        capture_output=True,
        text=True,
        timeout=MOST_SECONDS,
        check=False,
    )
    if run.returncode == 0:
        return GREEN
    return RED if report.exists() and has_failed(report) else f"broken\n{run.stdout[-3000:]}"


def has_failed(report: Path) -> bool:
    """True if a test failed itself, or in what is looked at after it; not in what it needs."""
    for case in ET.parse(report).iter("testcase"):
        errors = [error.get("message") or "" for error in case.findall("error")]
        if case.find("failure") is not None or any("teardown" in one for one in errors):
            return True
    return False


def told(wanted: str, found: str, name: str, *, since: float) -> bool:
    """Print a line; True if it came as it was to come."""
    print(f"{found.partition(chr(10))[0]:6} {time.monotonic() - since:5.0f} s  {name}", flush=True)
    if found != wanted:
        print(f"       should be {wanted}\n{found}", flush=True)
    return found == wanted


def prove(defences: Sequence[Defence]) -> bool:
    """True if every test passes with its defence and fails without it."""
    with copied() as tree:
        began = time.monotonic()
        tests = sorted({one.path for one in defences})
        proved = [told(GREEN, outcome(tests, tree), "all of them, unchanged", since=began)]
        for one in defences:
            began = time.monotonic()
            with without(one, tree):
                found = outcome([one.path], tree)
            proved.append(told(RED, found, f"without: {one.name} ({one.test})", since=began))
    print(f"{sum(proved[1:])} of {len(defences)} defences are missed by their test", flush=True)
    return all(proved)


def main(words: Sequence[str]) -> int:
    """Prove the defences that were chosen; answers the exit status."""
    chosen = [one for one in DEFENCES if any(word in one.name + one.test for word in words)]
    chosen = chosen if words else [one for one in DEFENCES if not one.slow]
    if not chosen:
        print("No defence has any of these words in its name or test", file=sys.stderr)
        return 2
    return 0 if prove(chosen) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
