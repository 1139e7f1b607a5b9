"""Whatever a client sends, its own session ends with a Goodbye that says why, and no other's."""

import contextlib
import os
import random

import pytest

from berth import _frames as frames
from upstream import ask

HELLO = frames.encode_client(frames.Hello(frames.VERSION, "bad"))
LEASE = frames.encode_client(frames.LeaseRequest(1, "echo", 1, None))
LONG_KEY = frames.encode_client(frames.LeaseRequest(1, "k" * 5000, 1, None))


def tag(field, wire_type):
    return bytes([field << 3 | wire_type])


# What is sent after Hello, and a word of the Goodbye.
BAD_AFTER_HELLO = {
    "garbage": (b"\xff" * 100, ""),
    "no frame kind": (b"", ""),
    "unknown frame kind": (tag(9, 2) + b"\x00", ""),
    "a truncated frame": (LEASE[:-3], ""),
    "a length beyond the end": (tag(2, 2) + b"\x7f" + b"x", ""),
    "a field of the wrong type": (tag(2, 0) + b"\x01", ""),
    "a varint without end": (tag(2, 2) + b"\x0b" + tag(1, 0) + b"\xff" * 10, ""),
    "a group": (tag(2, 3), ""),
    "field number 0": (b"\x02\x00", ""),
    "a key that is not UTF-8": (tag(2, 2) + b"\x06" + tag(1, 0) + b"\x01" + tag(2, 2) + b"\x02\xc3\x28", "UTF-8"),
    "a key of 5,000 bytes": (LONG_KEY, ""),
    "request id 0": (frames.encode_client(frames.LeaseRequest(0, "echo", 1, None)), "request"),
    "one byte too many": (LEASE + bytes(65537 - len(LEASE)), "at most 65536"),
    "150,000 bytes": (bytes(150_000), "at most 65536"),
    "a second Hello": (HELLO, "second Hello"),
}

BAD_FIRST = {
    "a lease before Hello": (LEASE, frames.Code.INVALID, "Hello"),
    "garbage": (b"GET / HTTP/1.1\r\n\r\n", frames.Code.INVALID, ""),
    "nothing": (b"", frames.Code.INVALID, ""),
    "version 0": (frames.encode_client(frames.Hello(0, "x")), frames.Code.VERSION, "version 0"),
    "a name of 65 bytes": (frames.encode_client(frames.Hello(1, "x" * 65)), frames.Code.INVALID, ""),
}


@pytest.fixture
def daemon(berthd, upstream):
    """With a bystander in mid-lease, who must notice nothing."""
    running = berthd({"echo": {"endpoints": [upstream.url]}})
    bystander = running.session()
    lease = bystander.lease("echo")
    assert ask(lease.sock) == 1
    yield running
    assert ask(lease.sock) == 1
    lease.release()
    with bystander.lease("echo") as again:
        assert ask(again.sock) == 1


def expect_goodbye(raw, code=frames.Code.INVALID, word=""):
    goodbye = raw.expect(frames.Goodbye)
    assert goodbye.code == code
    assert goodbye.message and word in goodbye.message
    assert raw.receive() is None


@pytest.mark.parametrize("data, word", BAD_AFTER_HELLO.values(), ids=BAD_AFTER_HELLO)
def test_a_bad_frame_ends_its_session_alone(daemon, data, word):
    raw = daemon.raw()
    raw.send_bytes(data)
    expect_goodbye(raw, word=word)


@pytest.mark.parametrize("data, code, word", BAD_FIRST.values(), ids=BAD_FIRST)
def test_a_session_begins_with_hello(daemon, data, code, word):
    raw = daemon.raw(hello=False)
    raw.send_bytes(data)
    expect_goodbye(raw, code, word)


def test_a_frame_with_descriptors_ends_the_session_and_leaves_none_behind(daemon):
    before = len(daemon.fds())
    for _ in range(10):
        raw = daemon.raw()
        raw.send_bytes(LEASE, fds=[0] * 20)
        expect_goodbye(raw, word="descriptors")
        raw.close()
    assert len(daemon.fds()) <= before


def test_a_bad_frame_among_good_ones_is_found(daemon):
    raw = daemon.raw()
    with daemon.stopped():
        for frame in raw_requests(30):
            raw.send(frame)
        raw.send_bytes(b"\xff")
    while isinstance(frame := raw.receive(), frames.KeyList):
        pass
    assert isinstance(frame, frames.Goodbye)


def raw_requests(count):
    return [frames.ListKeys(number) for number in range(1, count + 1)]


def test_a_request_id_that_still_waits_may_not_be_used_again(berthd, upstream):
    daemon = berthd({"echo": {"endpoints": [upstream.url], "max_connections": 1}})
    lease = daemon.session().lease("echo")
    raw = daemon.raw()
    request = frames.LeaseRequest(7, "echo", 1, None)
    raw.send(request)
    raw.send(request)
    expect_goodbye(raw, word="request id 7")
    lease.release()


def test_a_later_version_is_welcome_to_speak_ours(daemon):
    raw = daemon.raw(hello=False)
    raw.send(frames.Hello(99, "from the future"))
    assert raw.expect(frames.Welcome).version == 1


def test_unknown_fields_are_ignored(daemon):
    raw = daemon.raw()
    inner = LEASE[2:] + b"\xfa\x01\x03abc"  # field 31
    raw.send_bytes(tag(2, 2) + bytes([len(inner)]) + inner)
    raw.expect(frames.Grant)
    os.close(raw.fds.pop())


def test_a_frame_of_exactly_the_most_bytes_is_read(daemon):
    inner = LEASE[2:] + b"\xfa\x01" + varint(65536 - len(LEASE) - 7)
    inner += bytes(65536 - 4 - len(inner))
    data = tag(2, 2) + varint(len(inner)) + inner
    assert len(data) == 65536
    raw = daemon.raw()
    raw.send_bytes(data)
    raw.expect(frames.Grant)


def varint(number):
    out = b""
    while number > 127:
        out += bytes([number & 127 | 128])
        number >>= 7
    return out + bytes([number])


def test_random_bytes_never_harm_the_daemon(daemon):
    for seed in range(200):
        dice = random.Random(seed)
        raw = daemon.raw()
        raw.send_bytes(dice.randbytes(dice.randrange(1, 300)))
        with contextlib.suppress(BrokenPipeError):  # it has said Goodbye already
            raw.send(frames.ListKeys(1))
        assert raw.receive() is not None, f"seed {seed}"
        raw.close()
