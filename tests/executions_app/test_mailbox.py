from __future__ import annotations

import asyncio

import pytest

from executions_app.mailbox import Ended, Letter, Mailbox


def progress(text: str, topic: str = "execution:1") -> Letter:
    return Letter(text, "execution:progress", topic)


async def take(mailbox: Mailbox, count: int) -> list[str]:
    async with asyncio.timeout(10):
        return [await mailbox.take() for _ in range(count)]


def test_letters_come_out_in_the_order_they_went_in() -> None:
    async def scenario() -> None:
        mailbox = Mailbox()

        for text in "abc":
            mailbox.put(Letter(text))

        assert await take(mailbox, 3) == ["a", "b", "c"]

    asyncio.run(scenario())


def test_a_burst_of_progress_leaves_its_first_and_its_last_word() -> None:
    async def scenario() -> None:
        mailbox = Mailbox()
        mailbox.put(progress("1 %"))
        first = await take(mailbox, 1)

        for percent in range(2, 100):
            mailbox.put(progress(f"{percent} %"))
        started = asyncio.get_running_loop().time()
        rest = await take(mailbox, 1)

        assert (first, rest) == (["1 %"], ["99 %"])
        assert asyncio.get_running_loop().time() - started > 0.1

    asyncio.run(scenario())


def test_progress_of_one_topic_does_not_replace_that_of_another() -> None:
    async def scenario() -> None:
        mailbox = Mailbox()

        mailbox.put(progress("one", "execution:1"))
        mailbox.put(progress("two", "execution:2"))

        assert await take(mailbox, 2) == ["one", "two"]

    asyncio.run(scenario())


def test_the_end_of_an_execution_makes_its_waiting_progress_moot() -> None:
    async def scenario() -> None:
        mailbox = Mailbox()

        mailbox.put(progress("99 %"))
        mailbox.put(Letter("done", "execution:completed", "execution:1"))
        mailbox.put(Letter("next"))

        assert await take(mailbox, 2) == ["done", "next"]

    asyncio.run(scenario())


def test_a_client_that_does_not_read_is_ended_instead_of_filling_the_memory() -> None:
    async def scenario() -> None:
        mailbox = Mailbox(capacity=3)

        for text in "abcd":
            mailbox.put(Letter(text))

        with pytest.raises(Ended) as ended:
            await mailbox.take()
        assert ended.value.code == 1013

    asyncio.run(scenario())


def test_nothing_is_kept_for_a_client_that_was_ended() -> None:
    async def scenario() -> None:
        mailbox = Mailbox(capacity=3)

        for text in "abcdefgh":
            mailbox.put(Letter(text))
        mailbox.put(progress("too late"))

        assert mailbox.waiting == 0
        with pytest.raises(Ended):
            await take(mailbox, 1)

    asyncio.run(scenario())
