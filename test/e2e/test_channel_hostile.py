"""Peers of channel pools that mean harm, in raw frames: what they do costs little, and others go on meanwhile."""

import contextlib
import itertools
import os
import socket
import threading

import pytest

from processes import DEADLINE_S, free_port, wait_until

grpc = pytest.importorskip("grpc")

from channels import MEMORY_TELLS, Client, error_of, memory_of, socket_of  # noqa: E402
from test_channels import dial, pool, serve  # noqa: E402, F401

MIB = 1 << 20
MOST = 24 * MIB  # of memory that one of them may cost for a while
ENOUGH = 64 * MIB  # to be sent by one that is not stopped
FRAME = 16384
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = range(10)
END_STREAM = ACK = 1
END_HEADERS = 4


def frame(kind, flags, stream, payload=b""):
    return len(payload).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + payload


def settings(**values):
    numbers = {"window": 4}
    return frame(SETTINGS, 0, 0, b"".join(numbers[name].to_bytes(2, "big") + value.to_bytes(4, "big")
                                          for name, value in values.items()))


def literal(name, value, kind=b"\0"):
    """A field of HPACK (RFC 7541, section 6.2); with kind b"\\x40" the table keeps it."""
    return kind + b"".join(_length(len(text)) + text for text in (name, value))


def _length(size):
    if size < 127:
        return bytes([size])
    rest, size = b"\x7f", size - 127
    while size >= 128:
        rest, size = rest + bytes([size % 128 + 128]), size // 128
    return rest + bytes([size])


REQUEST = b"".join(literal(*field) for field in [
    (b":method", b"POST"), (b":scheme", b"http"), (b":path", b"/up/echo"), (b":authority", b"localhost"),
    (b"content-type", b"application/grpc"), (b"te", b"trailers")])
RESPONSE = literal(b":status", b"200") + literal(b"content-type", b"application/grpc")


def headers(stream, block, flags=END_HEADERS):
    return frame(HEADERS, flags, stream, block)


def forever(piece):
    """In chunks of a megabyte or so."""
    return itertools.repeat(piece * max(1, MIB // len(piece)))


def in_frames(stream, block):
    """A block as long as it likes."""
    yield headers(stream, block[:FRAME], END_HEADERS if len(block) <= FRAME else 0)
    for at in range(FRAME, len(block), FRAME):
        yield frame(CONTINUATION, END_HEADERS if at + FRAME >= len(block) else 0, stream, block[at:at + FRAME])


# Each gives what is said on stream 1, behind SETTINGS. `first` is how a good block of that side begins.

def continuations(first):
    yield headers(1, first, 0)
    yield from forever(frame(CONTINUATION, 0, 1, literal(b"x", b"y" * 1000)))


def empty_continuations(first):
    yield headers(1, first, 0)
    yield from forever(frame(CONTINUATION, 0, 1))


def floods(piece):
    return lambda first: itertools.chain([headers(1, first)], forever(piece))


def rapid_resets(first):
    streams = iter(range(1, 1 << 31, 2))
    while True:
        yield b"".join(headers(stream, first) + frame(RST_STREAM, 0, stream, bytes(4))
                       for stream in itertools.islice(streams, 1000))


def beyond_the_window(first):
    yield headers(1, first)
    message = b"\0" + (FRAME - 5).to_bytes(4, "big") + bytes(FRAME - 5)
    yield from forever(frame(DATA, 0, 1, message))


def garbage(first):
    while True:
        yield os.urandom(MIB)


FLOODS = {
    "continuations": continuations,
    "empty continuations": empty_continuations,
    "settings": floods(settings()),
    "settings of windows": floods(settings(window=1) + settings(window=(1 << 31) - 1)),
    "pings": floods(frame(PING, 0, 0, bytes(8))),
    "window updates": floods(frame(WINDOW_UPDATE, 0, 0, b"\0\0\0\1")),
    "priorities": floods(frame(PRIORITY, 0, 1, bytes(4) + b"\1")),
    "empty data": floods(frame(DATA, 0, 1)),
    "unknown frames": floods(frame(99, 0, 0, b"what")),
    "garbage": garbage,
}
OF_CLIENTS = {"rapid resets": rapid_resets}
OF_SERVERS = {"data beyond the window": beyond_the_window}


def say(sock, chunks):
    """Until the other side has had enough. Whether it had."""
    sent = 0
    sock.settimeout(DEADLINE_S)
    try:
        for chunk in chunks:
            sock.sendall(chunk)
            sent += len(chunk)
            if sent > ENOUGH:
                break
    except (BrokenPipeError, ConnectionResetError):
        return True
    return False


class Watched:
    """Another client of berthd goes on for as long as the block does; and berthd's memory is looked at."""

    def __init__(self, daemon, client):
        self._daemon, self._client = daemon, client
        self._over = threading.Event()
        self._calls, self._wrong = 0, []
        self._thread = threading.Thread(target=self._go_on, daemon=True)

    def _go_on(self):
        while not self._over.is_set() and not self._wrong:
            try:
                assert self._client.call("echo", b"%d" % self._calls) == b"%d" % self._calls
                self._calls += 1
            except (AssertionError, grpc.RpcError) as error:
                self._wrong.append(error)
            self._most = max(self._most, memory_of(self._daemon.pid))

    def more_calls(self, count=20):
        until = self._calls + count
        wait_until(lambda: self._calls >= until or self._wrong, "calls of others")

    def __enter__(self):
        self._client.call("who")
        self._most = self._before = memory_of(self._daemon.pid)
        self._thread.start()
        return self

    def __exit__(self, kind, *_):
        self._over.set()
        self._thread.join(DEADLINE_S)
        if kind is None:
            assert not self._wrong and self._calls > 0
            if MEMORY_TELLS:
                assert self._most - self._before < MOST


@contextlib.contextmanager
def connected(daemon, *opening, key="up"):
    with socket.socket(socket.AF_UNIX) as sock:
        sock.connect(socket_of(daemon, key).removeprefix("unix:"))
        sock.sendall(b"".join([PREFACE, *(opening or [settings()])]))
        yield sock


# ---- clients ----


@pytest.mark.parametrize("what", [*FLOODS, *OF_CLIENTS])
def test_a_client_that_floods_is_dropped_and_others_go_on(berthd, serve, dial, what):
    daemon = berthd(pool(serve()))
    with Watched(daemon, dial(daemon)) as others, connected(daemon) as sock:
        assert say(sock, {**FLOODS, **OF_CLIENTS}[what](REQUEST)), "it is not stopped"
        others.more_calls()


def test_headers_that_are_too_long_end_their_call_alone(berthd, serve, dial):
    daemon = berthd(pool(serve()))
    with Watched(daemon, dial(daemon)) as others, connected(daemon) as sock:
        long = b"".join(in_frames(1, REQUEST + literal(b"x", b"y" * 60_000) * 2))
        sock.sendall(long + frame(PING, 0, 0, b"answered"))
        sock.settimeout(DEADLINE_S)
        heard = b""
        while b"answered" not in heard:
            heard += sock.recv(65536)
        others.more_calls()


def test_bombs_end_their_calls_alone(berthd, serve, dial):
    """Few bytes that become three megabytes of fields, on one stream after another."""
    daemon = berthd(pool(serve()))
    bomb = REQUEST + literal(b"x", b"y" * 3000, b"\x40") + b"\xbe" * 1000
    with Watched(daemon, dial(daemon)) as others, connected(daemon) as sock:
        for stream in range(1, 601, 2):
            sock.sendall(headers(stream, bomb))
        sock.sendall(frame(PING, 0, 0, b"answered"))
        sock.settimeout(DEADLINE_S)
        heard = b""
        while b"answered" not in heard:
            heard += sock.recv(65536)
        others.more_calls()


@pytest.mark.parametrize("opening, rest", [
    (PREFACE[:10], b""),
    (PREFACE, settings()[:5]),
    (PREFACE, settings() + headers(1, REQUEST, 0)),
    (PREFACE, settings() + headers(1, REQUEST) + (FRAME).to_bytes(3, "big") + b"\0\0\0\0\0\1" + bytes(10_000)),
], ids=["the preface", "a head", "a header block", "data"])
def test_clients_that_stall_in_the_middle_cost_little(berthd, serve, dial, opening, rest):
    daemon = berthd(pool(serve()))
    with Watched(daemon, dial(daemon)) as others, contextlib.ExitStack() as stack:
        for _ in range(100):
            sock = stack.enter_context(socket.socket(socket.AF_UNIX))
            sock.connect(socket_of(daemon).removeprefix("unix:"))
            sock.sendall(opening + rest)
        others.more_calls(100)


def test_a_client_that_opens_no_window_holds_up_no_other(berthd, serve, dial):
    daemon = berthd(pool(serve()))
    request = REQUEST.replace(literal(b":path", b"/up/echo"), literal(b":path", b"/up/count"))
    message = b"100 100000"
    body = b"\0" + len(message).to_bytes(4, "big") + message
    with Watched(daemon, dial(daemon)) as others, connected(daemon, settings(window=0)) as sock:
        for stream in range(1, 101, 2):
            sock.sendall(headers(stream, request) + frame(DATA, END_STREAM, stream, body))
        others.more_calls(100)


def test_a_client_whose_requests_fill_the_memory_while_they_wait_is_the_one_that_is_dropped(berthd, serve, dial):
    pools = {**pool(serve()), "down": {"endpoints": [f"grpc://127.0.0.1:{free_port()}"], "fail_fast": False}}
    daemon = berthd(pools, total_stream_buffer="16MiB")
    with Watched(daemon, dial(daemon)) as others, connected(daemon, key="down") as sock:
        block = REQUEST + literal(b"x", b"y" * 50_000)
        assert say(sock, (b"".join(in_frames(stream, block)) for stream in range(1, 2000, 2))), "it is not dropped"
        assert "is dropped from a channel pool" in daemon.log()
        others.more_calls()


# ---- servers ----


class Hostile:
    """A server that says to each client what it has to say, once that has sent a request."""

    def __init__(self, chunks, opening=settings()):
        self.stopped = []
        self._chunks, self._opening = chunks, opening
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"grpc://127.0.0.1:{self._listener.getsockname()[1]}"
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._threads[0].start()

    def _accept(self):
        with contextlib.suppress(OSError):
            while True:
                sock, _ = self._listener.accept()
                self._threads.append(threading.Thread(target=self._serve, args=[sock], daemon=True))
                self._threads[-1].start()

    def _serve(self, sock):
        with sock, contextlib.suppress(OSError):
            sock.settimeout(DEADLINE_S)
            sock.sendall(self._opening)
            sock.recv(len(PREFACE), socket.MSG_WAITALL)
            kind = None
            while kind != HEADERS:
                head = sock.recv(9, socket.MSG_WAITALL)
                if len(head) < 9:
                    return
                kind = head[3]
                sock.recv(int.from_bytes(head[:3], "big"), socket.MSG_WAITALL)
            self.stopped.append(say(sock, self._chunks()))
            while sock.recv(65536):
                pass

    def close(self):
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()


@pytest.fixture
def hostile():
    """hostile(chunks) starts one."""
    with contextlib.ExitStack() as stack:
        yield lambda *options: stack.enter_context(contextlib.closing(Hostile(*options)))


def with_hostile(good, bad, **settings_of_bad):
    return {**pool(good), "bad": {"endpoints": [bad.url], **settings_of_bad}}


@pytest.mark.parametrize("what", [*FLOODS, *OF_SERVERS])
def test_a_server_that_floods_is_dropped_and_others_go_on(berthd, serve, dial, hostile, what):
    bad = hostile(lambda: {**FLOODS, **OF_SERVERS}[what](RESPONSE))
    daemon = berthd(with_hostile(serve(), bad))
    with Watched(daemon, dial(daemon)) as others:
        error_of(lambda: list(dial(daemon, key="bad").down("hostile", b"")))
        wait_until(lambda: bad.stopped, "it has said enough")
        assert all(bad.stopped), "it is not stopped"
        others.more_calls()


@pytest.mark.parametrize("block", [RESPONSE + literal(b"x", b"y" * 60_000) * 2,
                                   RESPONSE + literal(b"x", b"y" * 3000, b"\x40") + b"\xbe" * 10_000],
                         ids=["long", "a bomb"])
def test_answers_with_headers_that_are_too_long_end_their_call_alone(berthd, serve, dial, hostile, block):
    bad = hostile(lambda: in_frames(1, block))
    daemon = berthd(with_hostile(serve(), bad))
    with Watched(daemon, dial(daemon)) as others:
        error = error_of(dial(daemon, key="bad").start("hostile"))
        assert error.code() in (grpc.StatusCode.RESOURCE_EXHAUSTED, grpc.StatusCode.INTERNAL), error
        others.more_calls()


@pytest.mark.parametrize("chunks, opening", [
    (lambda: [], settings()[:5]),
    (lambda: [headers(1, RESPONSE, 0)], settings()),
    (lambda: [headers(1, RESPONSE) + FRAME.to_bytes(3, "big") + b"\0\0\0\0\0\1" + bytes(10_000)], settings()),
], ids=["a head", "a header block", "data"])
def test_servers_that_stall_in_the_middle_end_their_calls_at_their_deadline(berthd, serve, dial, hostile, chunks, opening):
    daemon = berthd(with_hostile(serve(), hostile(chunks, opening)))
    with Watched(daemon, dial(daemon)) as others:
        error = error_of(dial(daemon, key="bad").start("hostile", timeout=1))
        assert error.code() == grpc.StatusCode.DEADLINE_EXCEEDED
        others.more_calls()


def test_a_server_that_opens_no_window_holds_up_no_other(berthd, serve, dial, hostile):
    daemon = berthd(with_hostile(serve(), hostile(lambda: [], settings(window=0))))
    with Watched(daemon, dial(daemon)) as others:
        client = dial(daemon, key="bad")
        calls = [client.start("hostile", bytes(MIB), timeout=2) for _ in range(30)]
        others.more_calls(100)
        assert {error_of(call).code() for call in calls} == {grpc.StatusCode.DEADLINE_EXCEEDED}
