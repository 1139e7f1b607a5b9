"""Channel pools as an administrator sees and orders them: berthctl, with nghttpd as the server."""

import contextlib
import json
import socket
import subprocess

import pytest

from processes import DEADLINE_S, Program, free_port, try_connect, wait_until
from servers import need

pytest.importorskip("grpc")

from control import BERTHCTL, control, ctl, rows, status  # noqa: E402

SETTINGS = bytes([0, 0, 0, 4, 0, 0, 0, 0, 0])
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + SETTINGS


class Nghttpd:
    def __init__(self, folder, max_streams=100):
        folder.mkdir()
        self._folder = folder
        self._program, = need("nghttpd")
        self._options = ["--max-concurrent-streams", max_streams]
        self.port = free_port()
        self.address = f"127.0.0.1:{self.port}"
        self.url = f"grpc://{self.address}"
        self.start()

    def start(self):
        self._running = Program(self._folder, self._program, "--no-tls", "--address", "127.0.0.1", "--htdocs",
                                self._folder, *self._options, self.port)
        self._running.ready(lambda: try_connect(self.port))

    def kill(self):
        self._running.kill()


class Caller:
    """A client of the pool's socket whose calls go on until it cancels them: their bodies do not end."""

    def __init__(self, daemon, key="up"):
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.settimeout(DEADLINE_S)
        self._socket.connect(str(daemon.folder / "sockets" / f"{key}.sock"))
        self._socket.sendall(PREFACE)
        self._next = 1

    def call(self):
        stream, self._next = self._next, self._next + 2
        block = bytes([0x83, 0x86, 0x84])  # POST http /, by HPACK's static table
        self._socket.sendall(len(block).to_bytes(3, "big") + bytes([1, 4]) + stream.to_bytes(4, "big") + block)
        return stream

    def cancel(self, stream):
        self._socket.sendall(bytes([0, 0, 4, 3, 0]) + stream.to_bytes(4, "big") + (8).to_bytes(4, "big"))

    def close(self):
        self._socket.close()


@pytest.fixture
def serve(folder):
    with contextlib.ExitStack() as stack:
        def start(name="up", **options):
            server = Nghttpd(folder / name, **options)
            stack.callback(server.kill)
            return server
        yield start


@pytest.fixture
def come():
    """come(daemon) is a client."""
    with contextlib.ExitStack() as stack:
        def connect(daemon, **options):
            caller = Caller(daemon, **options)
            stack.callback(caller.close)
            return caller
        yield connect


def pool(*servers, **settings):
    return {"up": {"endpoints": [server.url for server in servers], **settings}}


def channels(daemon):
    return [row for row in rows(daemon, "connections", "up") if row["kind"] == "CHANNEL"]


def told(daemon):
    [row] = rows(daemon, "pools", "up")
    return row


def of_channels(daemon):
    return told(daemon)["channel_pool"]


def order(daemon, *words):
    done = ctl(daemon, *words)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.rstrip("\n")


def open_calls(daemon, count):
    wait_until(lambda: of_channels(daemon)["streams"] == count and not of_channels(daemon)["waiting_streams"],
               f"{count} streams are carried")


# ---- what berthctl shows ----


def test_channels_are_listed_beside_the_clients_they_serve(berthd, serve, come):
    server = serve()
    daemon = berthd(pool(server))
    come(daemon).call()
    open_calls(daemon, 1)
    [client, channel] = rows(daemon, "connections")
    assert (client["kind"], client["state"], client["channel_id"]) == ("CLIENT", "LEASED", "0")
    assert (channel["kind"], channel["state"], channel["connection_id"]) == ("CHANNEL", "READY", "0")
    assert (channel["key"], channel["endpoint"]) == ("up", server.url)
    assert int(channel["channel_id"]) > 0 and "channel" not in client
    info = channel["channel"]
    assert (info["address"], info["streams"], info["served"], info["max_streams"]) == (server.address, 1, "1", 100)
    assert info["last_error"] == "" and int(info["age_ms"]) >= 0
    clients, channels = ctl(daemon, "connections").stdout.split("\n\n")
    assert clients.splitlines()[1].split()[-1] == "-"
    titles, line = [each.split() for each in channels.splitlines()]
    cells = dict(zip(titles, line))
    assert (cells["CHANNEL"], cells["STATE"], cells["STREAMS"], cells["MAX"]) == \
        (channel["channel_id"], "ready", "1", "100")
    assert (cells["ADDRESS"], cells["ENDPOINT"], cells["ERROR"]) == (server.address, server.url, "-")


def test_a_pool_counts_what_h2load_did(berthd, serve):
    server = serve()
    daemon = berthd(pool(server))
    h2load, = need("h2load")
    path = daemon.folder / "sockets/up.sock"
    done = subprocess.run([h2load, "-n", "200", "-c", "2", "-m", "10", "-B", f"unix:{path}", "http://localhost/"],
                          timeout=DEADLINE_S, text=True, capture_output=True)
    assert done.returncode == 0 and "200 done" in done.stdout, done.stdout + done.stderr
    wait_until(lambda: of_channels(daemon)["clients"] == 0, "the clients have left")
    row = told(daemon)
    info = row["channel_pool"]
    assert (info["begun"], info["ended"], info["refused"], info["failed"]) == ("200", "200", "0", "0")
    assert (info["streams"], info["waiting_streams"], info["channels"]["ready"]) == (0, 0, 1)
    assert (row["dials"], row["failed_dials"], row["grants"]) == ("1", "0", "2")
    assert row["connections"] == {"connecting": 0, "idle": 0, "leased": 0, "parked": 0, "resetting": 0, "closing": 0}
    [address] = info["addresses"]
    assert (address["address"], address["endpoint"]) == (server.address, server.url)
    assert (address["begun"], address["ended"], address["failed"], address["dials"]) == ("200", "200", "0", "1")
    pools, addresses = [text.splitlines() for text in ctl(daemon, "pools").stdout.split("\n\n")]
    cells = dict(zip(pools[0].split(), pools[1].split()))
    assert (cells["KEY"], cells["READY"], cells["BEGUN"], cells["ENDED"]) == ("up", "1", "200", "200")
    assert server.address in addresses[1]


def test_streams_that_wait_are_told_apart(berthd, serve, come):
    daemon = berthd(pool(serve(max_streams=1), max_channels=1, acquire_timeout="20s"))
    caller = come(daemon)
    first = caller.call()
    open_calls(daemon, 1)
    caller.call()
    wait_until(lambda: of_channels(daemon)["waiting_streams"] == 1, "one waits")
    overall = status(daemon)
    assert (overall["streams"], overall["waiting_streams"], overall["clients"]) == (2, 1, 1)
    assert overall["channels"]["ready"] == 1
    text = ctl(daemon, "status").stdout
    assert "channels     1: 1 ready\n" in text and "streams      2, of which 1 wait\n" in text
    assert "calls would wait: 1 ready channel with 1 stream have no room, 1 call before them" in \
        order(daemon, "explain", "up")
    caller.cancel(first)
    open_calls(daemon, 1)


def test_an_address_that_does_not_answer_is_told_with_its_error(berthd, serve, come):
    up, down = serve(), serve("down")
    down.kill()
    daemon = berthd(pool(up, down))
    come(daemon)
    wait_until(lambda: [each for each in of_channels(daemon)["addresses"] if each["failed_dials"] != "0"],
               "a dial has failed")
    addresses = {each["address"]: each for each in of_channels(daemon)["addresses"]}
    assert addresses[up.address]["last_error"] == ""
    assert "Connection refused" in addresses[down.address]["last_error"]
    assert "Connection refused" in ctl(daemon, "pools").stdout


def test_explain_tells_that_there_is_no_upstream(berthd, serve, come):
    server = serve()
    server.kill()
    daemon = berthd(pool(server))
    assert "a channel would be dialled for them" in order(daemon, "explain", "up")
    come(daemon)
    wait_until(lambda: told(daemon)["dial_failures"] != "0", "a dial has failed")
    said = wait_until(lambda: (text := order(daemon, "explain", "up")) and "at once" in text and text,
                      "it is in backoff")
    assert "calls would fail at once, for want of an upstream: " in said and "Connection refused" in said


# ---- what an administrator orders ----


def test_renew_replaces_channels_and_lets_calls_end(berthd, serve, come):
    daemon = berthd(pool(serve()))
    caller = come(daemon)
    stream = caller.call()
    open_calls(daemon, 1)
    [former] = channels(daemon)
    assert order(daemon, "renew", "up") == \
        "up: 1 channel to be replaced, each closed once its streams have ended"
    wait_until(lambda: {row["state"] for row in channels(daemon)} == {"READY", "DRAINING"}, "a fresh one is ready")
    [draining] = [row for row in channels(daemon) if row["state"] == "DRAINING"]
    assert (draining["channel_id"], draining["close_reason"]) == (former["channel_id"], "CLOSE_RENEWED")
    assert "draining:renewed" in ctl(daemon, "connections").stdout
    caller.cancel(stream)
    wait_until(lambda: [row["state"] for row in channels(daemon)] == ["READY"], "the former one is closed")


def test_evict_closes_channels_without_streams(berthd, serve, come):
    daemon = berthd(pool(serve()))
    caller = come(daemon)
    stream = caller.call()
    open_calls(daemon, 1)
    assert order(daemon, "evict", "up") == "up: 0 idle channels closed"
    caller.cancel(stream)
    wait_until(lambda: of_channels(daemon)["streams"] == 0, "it carries nothing")
    [former] = channels(daemon)
    assert json.loads(order(daemon, "evict", "up", "5", "--json")) == {"closed": "1", "channels": True}
    wait_until(lambda: [row["channel_id"] for row in channels(daemon) if row["state"] == "READY"]
               not in ([], [former["channel_id"]]), "another one is dialled for the client")


def test_expire_closes_what_two_ticks_have_found_unused(berthd, serve, come):
    daemon = berthd(pool(serve()))
    caller = come(daemon)
    wait_until(lambda: of_channels(daemon)["channels"]["ready"] == 1, "it is dialled")
    assert order(daemon, "expire") == order(daemon, "expire") == "nothing was idle since the last tick"
    caller.close()
    wait_until(lambda: of_channels(daemon)["clients"] == 0, "the client has left")
    assert order(daemon, "expire") == "nothing was idle since the last tick"
    assert order(daemon, "expire") == "up: 1 idle channel closed"
    wait_until(lambda: not channels(daemon), "it is closed")


def test_while_paused_new_calls_wait(berthd, serve, come):
    daemon = berthd(pool(serve(), acquire_timeout="20s"))
    caller = come(daemon)
    caller.call()
    open_calls(daemon, 1)
    assert order(daemon, "pause", "up") == "up: paused, with 1 lease out and 1 stream open"
    caller.call()
    wait_until(lambda: of_channels(daemon)["waiting_streams"] == 1, "it waits")
    assert order(daemon, "resume", "up") == "up: open"
    open_calls(daemon, 2)


def test_disabled_new_calls_are_refused_and_others_go_on(berthd, serve, come):
    daemon = berthd(pool(serve()))
    caller = come(daemon)
    caller.call()
    open_calls(daemon, 1)
    assert order(daemon, "disable", "up") == "up: disabled, with 1 lease out and 1 stream open"
    caller.call()
    wait_until(lambda: of_channels(daemon)["refused"] == "1", "it is refused")
    assert of_channels(daemon)["streams"] == 1
    assert order(daemon, "enable", "up") == "up: open"
    caller.call()
    open_calls(daemon, 2)


def test_drain_waits_until_calls_have_ended(berthd, serve, come):
    daemon = berthd(pool(serve()))
    caller = come(daemon)
    stream = caller.call()
    open_calls(daemon, 1)
    drain = subprocess.Popen([BERTHCTL, "--socket", control(daemon), "drain", "up"], stdout=subprocess.PIPE, text=True)
    wait_until(lambda: told(daemon)["intake"] == "DISABLED", "it has begun")
    caller.call()
    wait_until(lambda: of_channels(daemon)["refused"] == "1", "a new one is refused")
    assert drain.poll() is None
    caller.cancel(stream)
    assert drain.communicate(timeout=DEADLINE_S)[0] == "up: disabled, and no stream is open\n"
    assert of_channels(daemon)["clients"] == 1
    assert order(daemon, "undrain", "up") == "up: open"
    caller.call()
    open_calls(daemon, 1)


# ---- events ----


def test_events_tell_of_clients_misses_channels_and_their_count(berthd, serve, come):
    daemon = berthd(pool(serve()))
    watcher = subprocess.Popen([BERTHCTL, "--socket", control(daemon), "events", "--follow", "--json", "up"],
                               stdout=subprocess.PIPE, text=True)
    wait_until(lambda: status(daemon)["watchers"] == 1, "it watches")
    seen = []

    def expect(kind):
        for line in watcher.stdout:
            seen.append(json.loads(line))
            if seen[-1]["kind"] == f"EVENT_{kind}":
                return seen[-1]
        raise AssertionError(f"{kind} has not come")

    caller = come(daemon)
    expect("CONNECT")
    assert [each["kind"] for each in seen].count("EVENT_GRANT") == 1
    expect("CACHE_MISS")
    dial = expect("DIAL")
    assert (dial["connection_id"], dial["key"]) == ("0", "up")
    assert expect("DIALED")["channel_id"] == dial["channel_id"] != "0"
    assert expect("COUNT")["count"] == "1"
    caller.close()
    wait_until(lambda: of_channels(daemon)["clients"] == 0, "the client has left")
    order(daemon, "evict", "up")
    close = expect("EVICT")
    assert close["count"] == "1"
    [close] = [expect("CLOSE")]
    assert (close["channel_id"], close["close_reason"]) == (dial["channel_id"], "CLOSE_EVICTED")
    assert expect("COUNT")["count"] == "0"
    order(daemon, "pause", "up")
    order(daemon, "resume", "up")
    expect("OPEN")
    assert [each["kind"] for each in seen].count("EVENT_PAUSE") == 1
    watcher.kill()
    watcher.communicate()
    lines = ctl(daemon, "events", "up").stdout
    assert f"channel={dial['channel_id']}" in lines and "count=0" in lines
