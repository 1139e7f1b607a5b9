"""Channel pools whose servers are behind something: a proxy, a program that dials, nginx, a network that drops all."""

import contextlib
import json
import os
import subprocess
import time

import pytest

from processes import Program, wait_until
from servers import need

grpc = pytest.importorskip("grpc")

from channels import Gate, Load, error_of, socket_of  # noqa: E402
from test_channels import MIB, RETRY, dial, pool, serve  # noqa: E402, F401
from test_commands import program  # noqa: E402, F401
from test_names import closes  # noqa: E402
from test_proxies import guarded, proxy, start, via  # noqa: E402, F401

Status = grpc.StatusCode


def calls_of_every_kind_pass(client):
    assert client.call("echo", b"unary") == b"unary"
    assert client.up("length", [b"a", b"bc", b"def"]) == b"6"
    assert list(client.down("count", b"2 3")) == [b"0..", b"1.."]
    assert list(client.both("both", iter([b"x", b"y"]))) == [b"x", b"y"]
    text = bytes(4 * MIB)
    assert client.call("echo", text) == text
    return True


# ---- proxies ----


def test_calls_go_through_a_proxy(berthd, serve, dial, proxy):  # noqa: F811
    server = serve()
    daemon = berthd(pool(server, **via(proxy)))
    assert calls_of_every_kind_pass(dial(daemon))
    assert (daemon.connections_to(proxy.port), daemon.connections_to(server.port)) == (1, 0)


def test_a_proxy_that_wants_a_password_gets_it_and_the_server_tls(berthd, serve, dial, guarded, folder,  # noqa: F811
                                                                  certificates):
    server = serve(tls=certificates.server("localhost"))
    url = f"grpcs://localhost:{server.port}"  # which the proxy looks up
    daemon = berthd({"up": {"endpoints": [url], "ca": str(certificates.ca), **via(guarded, folder)}})
    assert calls_of_every_kind_pass(dial(daemon))


def test_a_proxy_that_refuses_is_told_to_whoever_calls(berthd, serve, dial, guarded, folder):  # noqa: F811
    wrong = "swordfish-0815"
    client = dial(berthd(pool(serve(), **via(guarded, folder, wrong))))
    error = error_of(client.start("echo"))
    assert error.code() == Status.UNAVAILABLE
    assert f"proxy {guarded.url} refuses" in error.details()
    assert wrong not in error.details()


def test_a_proxy_that_returns_is_used_again(berthd, serve, dial, proxy):  # noqa: F811
    client = dial(berthd(pool(serve(), fail_fast=False, retry=RETRY, **via(proxy))))
    for _ in range(2):
        assert client.call("who") == b"up"
        proxy.kill()
        proxy.start()
    assert client.call("who") == b"up"


# ---- programs that dial ----


@pytest.mark.parametrize("tls", [False, True], ids=["h2c", "tls"])
def test_calls_go_over_what_a_program_has_dialled(berthd, serve, dial, program, certificates, tls):  # noqa: F811
    server = serve(tls=certificates.server("127.0.0.1") if tls else None)
    settings = {"ca": str(certificates.ca)} if tls else {}
    daemon = berthd(pool(server, dial_command=[program("give(connect())")], **settings))
    client = dial(daemon)
    assert calls_of_every_kind_pass(client)
    assert daemon.connections_to(server.port) == 1
    server.kill()
    server.start()
    wait_until(lambda: client.start("who").exception() is None, "it is dialled anew")


def test_the_words_of_a_program_that_cannot_dial_reach_the_caller(berthd, dial, program):  # noqa: F811
    command = program("sys.exit('the gate is shut')")
    client = dial(berthd({"up": {"endpoints": ["grpc://nowhere.invalid:1"], "dial_command": [command]}}))
    error = error_of(client.start("echo"))
    assert error.code() == Status.UNAVAILABLE
    assert "dial_command" in error.details() and "the gate is shut" in error.details()


# ---- nginx ----


@pytest.mark.parametrize("tls", [False, True], ids=["h2c", "tls"])
def test_nginx_that_says_goaway_after_a_hundred_calls_loses_none(berthd, serve, dial, nginx, certificates,  # noqa: F811
                                                                 tls):
    server = serve()
    front = nginx(calls_of=server.port, keepalive_requests=100, tls=certificates.server("127.0.0.1") if tls else None)
    daemon = berthd(pool(front, **({"ca": str(certificates.ca)} if tls else {})))
    gate = Gate()
    talk = dial(daemon).both("both", gate)
    gate.give(b"first")
    assert next(talk) == b"first"
    with Load(socket_of(daemon)) as load:
        load.go_on(1000)
        gate.give(b"in between")
        assert next(talk) == b"in between"
        load.go_on(1000)
    gate.give(b"last")
    gate.end()
    assert list(talk) == [b"last"]
    assert load.errors == []
    assert len(closes(daemon, "GOAWAY")) >= 20
    assert "GOAWAY" not in daemon.log(), "it is nothing to complain of"


# ---- networks ----


class Network:
    """One of its own, with loopback; `within` are the words before a command that is to be in it."""

    def __init__(self, folder):
        self._running = Program(folder, *need("unshare"), "--net", "sleep", "1000")
        self.pid = self._running.pid
        self.within = [*need("nsenter"), f"--target={self.pid}", "--net"]
        try:
            home = os.readlink("/proc/self/ns/net")
            wait_until(lambda: os.readlink(f"/proc/{self.pid}/ns/net") != home or self._running.status() is not None,
                       "it has left ours")
            self.ip("link", "set", "lo", "up")
        except BaseException:
            self.kill()
            raise

    def ip(self, *words):
        done = subprocess.run([*self.within, "ip", *map(str, words)], check=True, capture_output=True, text=True)
        return done.stdout

    def kill(self):
        self._running.kill()


class Cable:
    """Between two networks."""

    HERE, THERE = "192.0.2.1", "192.0.2.2"

    def __init__(self, here, there):
        self.here, self.there = here, there
        here.ip("link", "add", "cable", "type", "veth", "peer", "name", "cable", "netns", there.pid)
        for network, address in (here, self.HERE), (there, self.THERE):
            network.ip("address", "add", f"{address}/24", "dev", "cable")
            network.ip("link", "set", "cable", "up")
        # So that nobody has to ask where it is, and is told that it is nowhere.
        [shown] = json.loads(there.ip("-json", "link", "show", "cable"))
        here.ip("neighbour", "replace", self.THERE, "lladdr", shown["address"], "dev", "cable", "nud", "permanent")

    def swallow(self, all_of_it=True):
        """From now on what comes there is never answered; or it is again."""
        self.there.ip("route", "add" if all_of_it else "delete", "blackhole", f"{self.HERE}/32")


@pytest.fixture
def cable(as_root, folder):
    need("ip")
    with contextlib.ExitStack() as stack:
        try:
            networks = []
            for name in "here", "there":
                (folder / name).mkdir()
                networks.append(Network(folder / name))
                stack.callback(networks[-1].kill)
            laid = Cable(*networks)
        except (OSError, subprocess.CalledProcessError) as error:
            pytest.skip(f"no networks of one's own here: {getattr(error, 'stderr', error)}")
        yield laid


def test_a_server_whose_network_swallows_all_is_found_by_keepalive(cable, berthd, serve, dial):  # noqa: F811
    lost = serve("lost", host=cable.THERE, within=cable.there.within)
    near = serve("near", within=cable.here.within)
    settings = {"keepalive_time": "10s", "keepalive_timeout": "4s", "dial_timeout": "4s"}
    daemon = berthd(pool(lost, near, **settings), within=cable.here.within)
    client = dial(daemon)
    wait_until(lambda: {client.call("who") for _ in range(2)} == {b"lost", b"near"}, "both take part")
    calls = [client.down("linger", b"") for _ in range(2)]
    assert [next(call) for call in calls] == [b"first", b"first"]
    cable.swallow()
    begun = time.monotonic()
    [ended] = wait_until(lambda: [call for call in calls if call.done()], "one ends")
    assert time.monotonic() - begun < 14 + 10, "keepalive_time and keepalive_timeout, and some patience"
    assert ended.code() == Status.UNAVAILABLE
    assert lost.address in ended.details() and "keepalive_timeout" in ended.details()
    assert {client.call("who") for _ in range(20)} == {b"near"}
    near.kill()
    error = error_of(client.start("who"))
    assert error.code() == Status.UNAVAILABLE
    assert "no upstream" in error.details() and (lost.address in error.details() or near.address in error.details())
    cable.swallow(False)
    wait_until(lambda: client.start("who").exception() is None, "it is found again")
    assert client.call("who") == b"lost"
