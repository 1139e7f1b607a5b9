"""A berthd for tests: a thread that plays a script on one session, or serves a small pool."""

import array
import socket
import threading
from contextlib import contextmanager

from berth import _frames as frames

DEADLINE_S = 10  # for whatever the other side must do; only a failing test waits so long


class Peer:
    """The daemon's end of one session."""

    def __init__(self, sock):
        self.sock = sock
        sock.settimeout(DEADLINE_S)

    def receive(self):
        """The next client frame; None at the end of the session."""
        try:
            data = self.sock.recv(frames.MAX_FRAME_BYTES + 1)
        except ConnectionResetError:
            return None
        return frames.decode_client(data) if data else None

    def expect(self, kind):
        frame = self.receive()
        assert isinstance(frame, kind), f"{frame} instead of {kind.__name__}"
        return frame

    def expect_end(self):
        assert self.receive() is None

    def send(self, frame, fds=()):
        self.send_bytes(frames.encode_server(frame), fds)

    def send_bytes(self, data, fds=()):
        rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))] if fds else []
        self.sock.sendmsg([data], rights)

    def greet(self, **limits):
        hello = self.expect(frames.Hello)
        known = dict(max_frame_bytes=65536, max_count=64, max_leases=4096, max_waiters=256)
        known.update(limits)
        self.send(frames.Welcome(1, 7, b"0123456789abcdef", frames.Limits(**known)))
        return hello

    def grant(self, request, lease_ids, reused=False, before=lambda far: None, detached=False):
        """Answers with fresh connections; returns the servers' ends, and tells them to `before`."""
        near, far = zip(*(socket.socketpair() for _ in lease_ids))
        before(far)
        leases = tuple(frames.GrantedLease(each, reused, detached=detached) for each in lease_ids)
        try:
            self.send(frames.Grant(request.request_id, leases), [s.fileno() for s in near])
        finally:
            for sock in near:
                sock.close()
        return far

    def close(self):
        self.sock.close()


class Daemon:
    """Listens at `path`; each session is played by `script(peer)` in a thread of its own."""

    def __init__(self, path, script, sessions=1):
        self.path = path
        self._script = script
        self._errors = []
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._listener.bind(path)
        self._listener.listen(16)
        self._threads = [threading.Thread(target=self._play) for _ in range(sessions)]
        self._listener.settimeout(DEADLINE_S)
        for thread in self._threads:
            thread.start()

    def _play(self):
        try:
            peer = Peer(self._listener.accept()[0])
            try:
                self._script(peer)
            finally:
                peer.close()
        except BaseException as error:
            self._errors.append(error)

    def finish(self):
        """Waits for the scripts, and fails as they failed."""
        for thread in self._threads:
            thread.join(DEADLINE_S)
            assert not thread.is_alive(), "the script did not end"
        self._listener.close()
        if self._errors:
            raise self._errors[0]


class Pool:
    """A script that serves one pool of `size` connections: grants, queues, takes back."""

    def __init__(self, size=4):
        self.size = size
        self.held = {}  # lease id -> the server's end
        self.outcomes = []
        self.violations = []
        self._queue = []
        self._next_id = 1

    def __call__(self, peer):
        peer.greet()
        try:
            while True:
                frame = peer.receive()
                if frame is None:
                    return
                self._serve(peer, frame)
        finally:
            for sock in self.held.values():
                sock.close()

    def _serve(self, peer, frame):
        if isinstance(frame, frames.LeaseRequest):
            self._queue.append(frame)
        elif isinstance(frame, frames.Release):
            self._take_back(frame)
        elif isinstance(frame, frames.Cancel):
            self._cancel(peer, frame)
        elif isinstance(frame, frames.ListKeys):
            peer.send(frames.KeyList(frame.request_id, ("redis",)))
        self._grant_what_fits(peer)

    def _take_back(self, frame):
        if frame.lease_id not in self.held:
            self.violations.append(frame)
            return
        self.held.pop(frame.lease_id).close()
        self.outcomes.append(frame.outcome)

    def _cancel(self, peer, frame):
        if any(r.request_id == frame.request_id for r in self._queue):
            self._queue = [r for r in self._queue if r.request_id != frame.request_id]
            peer.send(frames.Refusal(frame.request_id, frames.Code.CANCELLED, "withdrawn"))

    def _grant_what_fits(self, peer):
        while self._queue and len(self.held) + (self._queue[0].count or 1) <= self.size:
            request = self._queue.pop(0)
            ids = [self._next_id + i for i in range(request.count or 1)]
            self._next_id += len(ids)
            peer.grant(request, ids, before=lambda far: self.held.update(zip(ids, far)))


@contextmanager
def in_thread(work):
    """Runs work() meanwhile; raises what it raised."""
    errors = []

    def run():
        try:
            work()
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    yield thread
    thread.join(DEADLINE_S)
    assert not thread.is_alive(), "the thread did not end"
    if errors:
        raise errors[0]
