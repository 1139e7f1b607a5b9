"""Programs that lease a connection to Redis, use it and give it back, again and again."""

import contextlib
import threading

import berth
from processes import wait_until
from servers import redis


class Workers:
    """Four that lease, count, and give back. What meets a dead connection is told apart: `died` if it was leased before,
    `faults` if it was fresh."""

    def __init__(self, daemon):
        self.done, self.died, self.faults, self.refused = [], [], [], []
        self._daemon = daemon
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._work) for _ in range(4)]

    def __enter__(self):
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self._stop.set()
        for thread in self._threads:
            thread.join(30)

    def go_on(self, count=20):
        before = len(self.done)
        wait_until(lambda: len(self.done) > before + count, "work goes on")

    def _work(self):
        with contextlib.closing(berth.Session(self._daemon.path)) as session:
            while not self._stop.is_set():
                try:
                    lease = session.lease("redis", timeout=20)
                except berth.Error as error:
                    self.refused.append(error)
                    continue
                with lease:
                    self._count(lease)

    def _count(self, lease):
        try:
            assert redis(lease.sock, "INCR", "count") > 0
            self.done.append(1)
        except (OSError, AssertionError, RuntimeError) as fault:
            (self.died if lease.reused else self.faults).append(repr(fault))
            lease.discard()
