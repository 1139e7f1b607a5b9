"""Leased connections as asyncio streams: no thread waits, and what ends in doubt is discarded."""

import asyncio
import contextlib
import gc
import os
import threading

import pytest

import berth
import berth.asyncio
from berthd import settle
from processes import wait_until


@pytest.fixture
def daemon(berthd, upstream):
    return berthd({"echo": {"endpoints": [upstream.url], "max_connections": 2}})


@pytest.fixture
def session(daemon):
    return daemon.session()


async def ask(reader, writer, text=b"hello"):
    """The number of the connection that answers."""
    writer.write(text + b"\n")
    number, _, echo = (await reader.readline()).partition(b" ")
    assert echo == text + b"\n"
    return int(number)


def reuses(session):
    settle(session)
    with session.lease("echo") as lease:
        return lease.reused


def test_a_block_that_is_left_gives_the_connection_back(session, upstream):
    async def work():
        numbers = []
        for _ in range(3):
            async with berth.asyncio.connection(session, "echo", timeout=5) as streams:
                numbers.append(await ask(*streams))
        return numbers

    assert asyncio.run(work()) == [1, 1, 1]
    assert reuses(session)


def test_many_tasks_wait_in_one_loop_without_threads(session, upstream):
    async def one():
        async with berth.asyncio.connection(session, "echo", timeout=20) as streams:
            return await ask(*streams)

    async def work():
        numbers = await asyncio.gather(*[one() for _ in range(100)])
        return set(numbers), threading.active_count()

    assert asyncio.run(work()) == ({1, 2}, threading.active_count())


def test_threads_and_tasks_share_a_session(session):
    done = []

    def work():
        for _ in range(50):
            with session.lease("echo", timeout=20):
                pass
        done.append("thread")

    async def tasks():
        async def one():
            for _ in range(25):
                async with berth.asyncio.connection(session, "echo", timeout=20) as streams:
                    await ask(*streams)
        await asyncio.gather(one(), one(), one())

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    asyncio.run(tasks())
    for thread in threads:
        thread.join()
    assert done == ["thread"] * 3
    assert not session._waiting and copies_of(session._line._sock) == 1


def test_two_loops_share_a_session(session):
    async def work():
        for _ in range(50):
            async with berth.asyncio.connection(session, "echo", timeout=20) as streams:
                await ask(*streams)

    threads = [threading.Thread(target=lambda: asyncio.run(work())) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not any(thread.is_alive() for thread in threads)


def test_a_waiting_task_does_not_hold_up_its_loop(session):
    async def work():
        order = []

        async def waits():
            async with berth.asyncio.connection(session, "echo", timeout=20) as streams:
                await ask(*streams)
                order.append("granted")

        leases = session.lease_many("echo", 2)
        task = asyncio.ensure_future(waits())
        for number in range(3):
            await asyncio.sleep(0)
            order.append(number)
        leases.release()
        await task
        return order

    assert asyncio.run(work()) == [0, 1, 2, "granted"]


async def _leave_on(error, session):
    async with berth.asyncio.connection(session, "echo") as streams:
        assert await ask(*streams) == 1
        raise error


@pytest.mark.parametrize("error", [ZeroDivisionError, asyncio.CancelledError, KeyboardInterrupt])
def test_a_block_that_ends_on_an_exception_discards(session, error):
    with pytest.raises(error):
        asyncio.run(_leave_on(error, session))
    assert not reuses(session)


async def _read_half(reader, writer):
    writer.write(b"hello\n")
    assert await reader.readexactly(3) == b"1 h"


async def _read_nothing(reader, writer):
    writer.write(b"hello\n")
    await reader._wait_for_data("the answer")


async def _close(reader, writer):
    await ask(reader, writer)
    writer.close()


async def _write_eof(reader, writer):
    await ask(reader, writer)
    writer.write_eof()


@pytest.mark.parametrize("exchange", [_read_half, _read_nothing, _close, _write_eof])
def test_a_doubtful_end_discards(session, exchange):
    async def work():
        async with berth.asyncio.connection(session, "echo") as streams:
            await exchange(*streams)

    asyncio.run(work())
    assert not reuses(session)


def test_a_server_that_hangs_up_leaves_nothing_to_reuse(session, upstream):
    async def work():
        async with berth.asyncio.connection(session, "echo") as (reader, writer):
            assert await ask(reader, writer) == 1
            upstream.hang_up(1)
            assert await reader.read() == b""

    asyncio.run(work())
    assert not reuses(session)


def test_a_timeout_in_mid_answer_discards(session):
    async def work():
        async with berth.asyncio.connection(session, "echo") as (reader, writer):
            writer.write(b"no end of line")
            await asyncio.wait_for(reader.readline(), 0.05)

    with pytest.raises(asyncio.TimeoutError):
        asyncio.run(work())
    assert not reuses(session)


def test_what_was_written_is_sent_before_the_connection_goes_back(session):
    size = 4_000_000

    async def work():
        async with berth.asyncio.connection(session, "echo", limit=2 * size) as (reader, writer):
            writer.write(b"x" * size + b"\n")
            assert len(await reader.readline()) == size + 3

    asyncio.run(work())
    assert reuses(session)


def test_streams_without_a_block(session):
    async def work():
        reader, writer = await berth.asyncio.open_connection(session, "echo")
        assert await ask(reader, writer) == 1
        await writer.release()
        reader, writer = await berth.asyncio.open_connection(session, "echo")
        assert await ask(reader, writer) == 1
        writer.close()
        await writer.wait_closed()
        await writer.release()  # too late, and harmless

    asyncio.run(work())
    assert not reuses(session)


@pytest.mark.filterwarnings("ignore:unclosed transport:ResourceWarning")
@pytest.mark.filterwarnings("ignore:.*neither released nor discarded:ResourceWarning")
def test_streams_that_are_forgotten_are_discarded(session, upstream):
    async def work():
        assert await ask(*await berth.asyncio.open_connection(session, "echo")) == 1

    asyncio.run(work())
    gc.collect()
    wait_until(lambda: upstream.open == [], "the connection is closed")


def test_a_task_that_is_cancelled_while_it_waits_leaves_nothing_behind(session):
    async def work():
        with session.lease_many("echo", 2):
            waiting = asyncio.ensure_future(berth.asyncio.open_connection(session, "echo"))
            await asyncio.sleep(0.02)
            waiting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await waiting
        async with berth.asyncio.connection(session, "echo", timeout=5) as one:
            async with berth.asyncio.connection(session, "echo", timeout=5) as other:
                return {await ask(*one), await ask(*other)}

    assert asyncio.run(work()) == {1, 2}
    wait_until(lambda: settle(session) or not session._waiting, "nothing is awaited")


def test_a_grant_that_crosses_a_cancellation_goes_back_untouched(session, daemon, upstream):
    async def work():
        with session.lease_many("echo", 2) as leases:
            waiting = asyncio.ensure_future(berth.asyncio.open_connection(session, "echo"))
            await asyncio.sleep(0.02)
            with daemon.stopped():  # so that release and cancellation come at once
                leases.release()
                waiting.cancel()
                await asyncio.sleep(0)
            with pytest.raises(asyncio.CancelledError):
                await waiting
        async with berth.asyncio.connection(session, "echo", timeout=5) as one:
            async with berth.asyncio.connection(session, "echo", timeout=5) as other:
                return {await ask(*one), await ask(*other)}

    assert asyncio.run(work()) == {1, 2}
    assert upstream.accepted == 2


def test_errors_are_berths(session):
    async def lease(key, **options):
        async with berth.asyncio.connection(session, key, **options):
            pass

    with session.lease_many("echo", 2):
        with pytest.raises(berth.TimedOut, match="2/2 leased"):
            asyncio.run(lease("echo", timeout=0.05))
    with pytest.raises(berth.NoSuchKey, match='did you mean "echo"'):
        asyncio.run(lease("ecko"))
    with pytest.raises(berth.InvalidRequest, match="timeout is -1"):
        asyncio.run(lease("echo", timeout=-1))
    session.close()
    with pytest.raises(berth.Unavailable, match="this session was closed"):
        asyncio.run(lease("echo"))


def test_a_session_that_ends_wakes_the_tasks_that_wait(daemon):
    session = daemon.session()

    async def work():
        leases = session.lease_many("echo", 2)
        waiting = [asyncio.ensure_future(berth.asyncio.open_connection(session, "echo")) for _ in range(3)]
        await asyncio.sleep(0.02)
        daemon.kill()
        for each in waiting:
            with pytest.raises(berth.Unavailable, match="went away"):
                await each
        leases.discard()

    asyncio.run(work())


def test_a_daemon_that_hangs_is_given_up(daemon, monkeypatch):
    monkeypatch.setattr(berth.asyncio, "_GRACE_SECONDS", 0.1)
    session = daemon.session()

    async def work():
        with pytest.raises(berth.TimedOut, match="did not answer in time"):
            await berth.asyncio.open_connection(session, "echo", timeout=0.1)

    with daemon.stopped():
        asyncio.run(work())
    settle(session)
    gc.collect()
    assert copies_of(session._line._sock) == 1


def copies_of(sock):
    """How many descriptors of this process are that socket."""
    inode = os.fstat(sock.fileno()).st_ino
    found = 0
    for fd in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError):
            found += os.fstat(int(fd)).st_ino == inode
    return found


def test_a_path_is_as_good_as_a_session(daemon, child):
    def life(parent):
        async def work():
            async with berth.asyncio.connection(daemon.path, "echo") as streams:
                return await ask(*streams)

        before = asyncio.run(work())
        parent.say("ready")
        parent.hear()
        return before, asyncio.run(work())

    born = child(life)
    assert born.hear() == "ready"
    daemon.kill()
    daemon.start()
    born.tell()
    assert born.result() == (1, 2)


def test_a_forked_child_has_a_session_of_its_own(daemon, child):
    async def work():
        async with berth.asyncio.connection(daemon.path, "echo") as streams:
            return await ask(*streams)

    def life(parent):
        async def held():
            async with berth.asyncio.connection(daemon.path, "echo") as streams:
                assert await ask(*streams) == 1
                pid = os.fork()
                if pid == 0:
                    os._exit(_in_child(work))
                status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
                return status, await ask(*streams)  # the child has done no harm
        return asyncio.run(held()), asyncio.run(work())

    assert child(life).result() == ((2, 1), 1)


def _in_child(work):
    asyncio.events._set_running_loop(None)  # the loop that runs is the parent's
    return asyncio.run(work())
