"""The bars of a session."""

from __future__ import annotations

import re
from xml.etree import ElementTree as ET

from benchmarks import picture
from benchmarks.table import OURS
from tests.benchmarks.found import PEER, result

SVG = "{http://www.w3.org/2000/svg}"


def test_bars_are_as_long_as_their_medians_and_ours_has_a_colour_of_its_own() -> None:
    image = ET.fromstring(picture.svg([result({OURS: [300.0, 200.0, 100.0], PEER: [50.0]})]))

    bars = {
        one.get("class"): float(one.get("width", ""))
        for one in image.iter(f"{SVG}rect")
        if one.get("class") != "frame"
    }
    assert bars == {"ours": picture.LONGEST, "peer": picture.LONGEST / 4}


def test_every_bar_says_its_number_and_the_title_is_escaped() -> None:
    drawn = picture.svg([result({OURS: [25_600.0], PEER: [716.0]})])

    words = " ".join(ET.fromstring(drawn).itertext())
    assert "25,600" in words
    assert "716" in words
    assert "T0  work <done>" in words


def test_a_target_without_numbers_takes_no_room() -> None:
    with_both = picture.svg([result({OURS: [1.0]}), result({}, problem="it broke")])

    assert with_both == picture.svg([result({OURS: [1.0]})])


def test_the_picture_follows_the_scheme_of_its_reader() -> None:
    drawn = picture.svg([])

    assert "prefers-color-scheme: dark" in drawn
    assert not re.search(r"(href|src)=", drawn)
