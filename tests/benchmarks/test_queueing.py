"""The simulation agrees with what queueing theory proves about small cases."""

from __future__ import annotations

import random
from collections.abc import Iterator
from math import factorial
from statistics import fmean

import pytest

from benchmarks.queueing import Customer, Observed, Stage, simulate

CUSTOMERS = 40_000
SERVICE = 0.01
RANDOM_ENOUGH = 0.06  # how far 40,000 customers may be from the mean of infinitely many


def poisson(rate: float, dice: random.Random) -> Iterator[float]:
    now = 0.0
    for _ in range(CUSTOMERS):
        now += dice.expovariate(rate)
        yield now


def served(*, load: float, servers: int, is_exponential: bool) -> Observed:
    dice = random.Random(7)
    arrivals = list(poisson(load * servers / SERVICE, dice))
    times = [dice.expovariate(1 / SERVICE) if is_exponential else SERVICE for _ in arrivals]
    customers = [
        Customer(at, [Stage("desk", seconds, is_start=True)])
        for at, seconds in zip(arrivals, times, strict=True)
    ]
    return simulate(customers, {"desk": servers})


def erlang_c(load: float, servers: int) -> float:
    """The probability that somebody has to wait (A. K. Erlang, 1917)."""
    offered = load * servers
    waits = offered**servers / factorial(servers) / (1 - load)
    return waits / (sum(offered**n / factorial(n) for n in range(servers)) + waits)


def test_who_comes_second_waits_for_the_first() -> None:
    way = [Stage("desk", 2.0, is_start=True)]

    seen = simulate([Customer(1.0, way), Customer(1.5, way)], {"desk": 1})

    assert seen.starts == [0.0, 1.5]
    assert seen.stays == [2.0, 3.5]
    assert seen.busy == {"desk": 4.0}


def test_two_servers_serve_two_at_once() -> None:
    way = [Stage("desk", 2.0, is_start=True)]

    seen = simulate([Customer(0.0, way)] * 3, {"desk": 2})

    assert seen.starts == [0.0, 0.0, 2.0]


def test_stages_follow_each_other_and_a_start_is_counted_where_it_is_said() -> None:
    way = [Stage("door", 1.0), Stage("desk", 2.0, is_start=True), Stage("door", 1.0)]

    seen = simulate([Customer(0.0, way)], {"door": 1, "desk": 1})

    assert (seen.starts, seen.stays) == ([1.0], [4.0])
    assert seen.utilisation({"door": 1, "desk": 1}) == {"door": 0.5, "desk": 0.5}


@pytest.mark.parametrize("load", [0.3, 0.5, 0.8])
def test_service_of_one_length_waits_as_pollaczek_and_khinchine_say(load: float) -> None:
    seen = served(load=load, servers=1, is_exponential=False)

    wait = load * SERVICE / (2 * (1 - load))
    assert fmean(seen.starts) == pytest.approx(wait, rel=RANDOM_ENOUGH)


@pytest.mark.parametrize(("load", "servers"), [(0.5, 1), (0.7, 3), (0.8, 8)])
def test_random_service_waits_as_erlang_says(load: float, servers: int) -> None:
    seen = served(load=load, servers=servers, is_exponential=True)

    wait = erlang_c(load, servers) * SERVICE / (servers * (1 - load))
    assert fmean(seen.starts) == pytest.approx(wait, rel=2 * RANDOM_ENOUGH)


@pytest.mark.parametrize("load", [0.3, 0.8, 1.3])
def test_who_is_present_is_who_arrives_times_how_long_they_stay(load: float) -> None:
    seen = served(load=load, servers=2, is_exponential=True)

    rate = CUSTOMERS / seen.until
    assert seen.mean_present == pytest.approx(rate * fmean(seen.stays), rel=1e-9)


def test_an_overrun_station_is_always_busy() -> None:
    seen = served(load=1.5, servers=2, is_exponential=False)

    assert seen.utilisation({"desk": 2})["desk"] == pytest.approx(1.0, abs=0.01)
    assert CUSTOMERS / seen.until == pytest.approx(2 / SERVICE, rel=0.01)
