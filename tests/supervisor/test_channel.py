"""The supervisor's end of the control channel; what a hanging worker costs is in test_workers.py."""

from __future__ import annotations

import pytest
import trio
import trio.testing

from muxproxy.messages import Ask, Drain, Drained, MessageReader, Ready, Stats, encode
from muxproxy.supervisor.channel import Channel
from muxproxy.supervisor.outbox import MOST


@pytest.fixture
def ends():
    return trio.testing.memory_stream_pair()


@pytest.fixture
def channel(ends):
    return Channel(ends[0])


@pytest.fixture
def worker(ends):
    return ends[1]


async def test_what_is_said_goes_out_in_order(channel, worker, nursery):
    assert channel.say(Ask(1))
    assert channel.say(Drain(2.0))
    nursery.start_soon(channel.write)
    reader, heard = MessageReader(), []
    while len(heard) < 2:
        heard += reader.feed(await worker.receive_some())
    assert heard == [Ask(1), Drain(2.0)]


async def test_messages_come_however_they_are_cut_and_nothing_at_the_end(channel, worker):
    data = encode(Ready()) + encode(Drained(3))
    await worker.send_all(data[:7])
    await worker.send_all(data[7:-1])
    assert await channel.receive() == [Ready()]
    await worker.send_all(data[-1:])
    assert await channel.receive() == [Drained(3)]
    await worker.send_eof()
    assert await channel.receive() == []


async def test_a_worker_that_vanishes_is_the_end_of_the_channel(channel, worker, nursery):
    await worker.aclose()
    channel.say(Ask(1))
    await channel.write()  # returns, instead of raising
    assert await channel.receive() == []


async def test_an_outbox_that_nobody_empties_is_bounded(channel):
    assert all(channel.say(Drain(1.0)) for _ in range(MOST))
    assert not channel.say(Drain(1.0))
    assert await channel.ask() is None


async def test_each_question_gets_its_own_answer_whatever_the_order(channel, worker, nursery):
    answers = {}

    async def ask(name: str) -> None:
        answers[name] = await channel.ask()

    nursery.start_soon(channel.write)
    nursery.start_soon(ask, "one")
    await trio.testing.wait_all_tasks_blocked()
    nursery.start_soon(ask, "two")
    await trio.testing.wait_all_tasks_blocked()
    channel.on_stats(Stats(2, {"for": "two"}))
    channel.on_stats(Stats(2, {"for": "two, again"}))
    channel.on_stats(Stats(3, {"for": "nobody"}))
    channel.on_stats(Stats(1, {"for": "one"}))
    await trio.testing.wait_all_tasks_blocked()
    assert answers == {"one": {"for": "one"}, "two": {"for": "two"}}


async def test_who_asks_before_the_last_question_has_gone_out_shares_it(channel, worker, nursery):
    answers = []

    async def ask() -> None:
        answers.append(await channel.ask())

    with trio.move_on_after(0):
        await ask()  # has gone by when it is answered
    for _ in range(2 * MOST):
        nursery.start_soon(ask)
    await trio.testing.wait_all_tasks_blocked()
    nursery.start_soon(channel.write)
    assert MessageReader().feed(await worker.receive_some()) == [Ask(1)]
    channel.on_stats(Stats(1, {"for": "all"}))
    await trio.testing.wait_all_tasks_blocked()
    assert answers == [{"for": "all"}] * (2 * MOST)
    nursery.start_soon(ask)
    assert MessageReader().feed(await worker.receive_some()) == [Ask(2)]
    channel.on_stats(Stats(2, {}))
