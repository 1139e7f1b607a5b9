"""Threads that share a session: one reads for all, and none holds another up."""

import threading

import pytest

import berth
from berth import _frames as frames
from berth._frames import Code, Outcome
from daemon import Pool, in_thread


def test_threads_share_a_pool_that_is_too_small(daemon):
    pool = Pool(size=2)
    s = berth.Session(daemon(pool).path)
    holders = threading.Semaphore(2)  # as many as the pool allows

    def work():
        for i in range(50):
            with s.lease("redis") as c:
                assert holders.acquire(blocking=False)
                if i % 10 == 9:
                    c.discard()
                holders.release()

    with in_thread(work), in_thread(work), in_thread(work), in_thread(work):
        work()
    s.keys()
    s.close()
    assert not pool.held and not pool.violations
    assert pool.outcomes.count(Outcome.REUSE) == 225
    assert pool.outcomes.count(Outcome.DISCARD) == 25


def test_answers_may_come_in_any_order(daemon):
    def script(peer):
        peer.greet()
        requests = [peer.expect(frames.LeaseRequest) for _ in range(8)]
        for request in reversed(requests):
            peer.grant(request, [int(request.key)])[0].close()
        releases = [peer.expect(frames.Release).lease_id for _ in requests]
        assert sorted(releases) == list(range(1, 9))
        peer.expect_end()

    s = berth.Session(daemon(script).path)

    def work(n):
        with s.lease(str(n)) as c:
            assert c.id == n

    with in_thread(lambda: work(1)), in_thread(lambda: work(2)), in_thread(lambda: work(3)):
        with in_thread(lambda: work(4)), in_thread(lambda: work(5)), in_thread(lambda: work(6)):
            with in_thread(lambda: work(7)):
                work(8)
    s.close()


def test_release_does_not_wait_for_a_thread_that_waits(daemon):
    def script(peer):
        peer.greet()
        peer.grant(peer.expect(frames.LeaseRequest), [1])[0].close()
        waits = peer.expect(frames.LeaseRequest)
        second.set()
        assert peer.expect(frames.Release).lease_id == 1
        peer.grant(waits, [2])[0].close()
        assert peer.expect(frames.Release).lease_id == 2
        peer.expect_end()

    second = threading.Event()
    s = berth.Session(daemon(script).path)
    c = s.lease("redis")
    with in_thread(lambda: s.lease("redis").release()):
        assert second.wait(10)
        c.release()
    s.close()


def test_leader_that_leaves_hands_over(daemon):
    """The leader is answered first; the follower then must read for itself."""

    def script(peer):
        peer.greet()
        first = peer.expect(frames.LeaseRequest)
        led.set()
        second = peer.expect(frames.LeaseRequest)
        peer.send(frames.Refusal(first.request_id, Code.QUEUE_FULL))
        assert left.wait(10)
        peer.send(frames.Refusal(second.request_id, Code.QUEUE_FULL))
        peer.expect_end()

    led, left = threading.Event(), threading.Event()
    s = berth.Session(daemon(script).path)

    def lead():
        with pytest.raises(berth.QueueFull):
            s.lease("redis")
        left.set()

    with in_thread(lead):
        assert led.wait(10)
        with pytest.raises(berth.QueueFull):
            s.lease("redis")
    s.close()


def test_end_of_the_session_wakes_all(daemon):
    def script(peer):
        peer.greet()
        for _ in range(3):
            peer.expect(frames.LeaseRequest)
        peer.send(frames.Goodbye(Code.SHUTTING_DOWN, "berthd stops"))

    s = berth.Session(daemon(script).path)

    def wait():
        with pytest.raises(berth.ShuttingDown, match="berthd stops"):
            s.lease("redis")

    with in_thread(wait), in_thread(wait):
        wait()
    s.close()


def test_close_wakes_those_who_wait(daemon):
    waiting = threading.Barrier(2)

    def script(peer):
        peer.greet()
        peer.expect(frames.LeaseRequest)
        peer.expect(frames.LeaseRequest)
        waiting.wait(10)
        while peer.receive() is not None:
            pass

    s = berth.Session(daemon(script).path)

    def wait():
        with pytest.raises(berth.Unavailable, match="was closed"):
            s.lease("redis")

    with in_thread(wait), in_thread(wait):
        waiting.wait(10)
        s.close()


def test_follower_times_out_by_itself(daemon, monkeypatch):
    monkeypatch.setattr("berth._session._GRACE_SECONDS", 0.01)
    led = threading.Event()

    def script(peer):
        peer.greet()
        first = peer.expect(frames.LeaseRequest)
        led.set()
        second = peer.expect(frames.LeaseRequest)
        assert peer.expect(frames.Cancel).request_id == second.request_id
        peer.send(frames.Refusal(first.request_id, Code.QUEUE_FULL))
        peer.expect_end()

    s = berth.Session(daemon(script).path)

    def lead():
        with pytest.raises(berth.QueueFull):
            s.lease("redis")

    with in_thread(lead):
        assert led.wait(10)
        with pytest.raises(berth.TimedOut, match="did not answer"):
            s.lease("redis", timeout=0)
    s.close()
