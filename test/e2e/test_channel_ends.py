"""Channel pools with TLS; how their channels end, and berthd itself."""

import contextlib
import signal

import pytest

from processes import wait_until

grpc = pytest.importorskip("grpc")

from channels import Client, Gate, Load, error_of, socket_of  # noqa: E402
from control import ctl  # noqa: E402
from test_channels import RETRY, dial, pool, serve  # noqa: E402, F401

Status = grpc.StatusCode


# ---- TLS ----


def test_a_client_without_tls_calls_a_server_with_it(berthd, serve, dial, certificates):
    server = serve(tls=certificates.server("127.0.0.1"))
    daemon = berthd(pool(server, ca=str(certificates.ca)))
    clients = [dial(daemon) for _ in range(3)]
    for client in clients:
        assert client.call("echo", b"secret") == b"secret"
        assert list(client.both("both", iter([b"x", b"y"]))) == [b"x", b"y"]
    text = bytes(3 << 20)
    assert clients[0].call("echo", text) == text
    assert daemon.connections_to(server.port) == 1


def test_a_server_that_wants_a_certificate_gets_the_pools(berthd, serve, dial, certificates):
    server = serve(tls=certificates.server("127.0.0.1"), clients=certificates.ca)
    mine = certificates.client("me")
    named = {"ca": str(certificates.ca), "certificate": str(mine.file), "private_key": str(mine.key)}
    assert dial(berthd(pool(server, **named))).call("echo", b"mutual") == b"mutual"
    error = error_of(dial(berthd(pool(server, ca=str(certificates.ca)))).start("echo"))
    assert error.code() == Status.UNAVAILABLE and "none is set (certificate)" in error.details()


@pytest.mark.parametrize("case, words", [("other authority", "certificate"), ("other name", "127.0.0.1"),
                                         ("expired", "expired")])
def test_a_server_that_cannot_be_trusted_is_told_with_the_reason(berthd, serve, dial, certificates, case, words):
    certificate = {"other authority": certificates.other_authority().server, "other name": certificates.server,
                   "expired": certificates.expired}[case]
    server = serve(tls=certificate("elsewhere.test" if case == "other name" else "127.0.0.1"))
    error = error_of(dial(berthd(pool(server, ca=str(certificates.ca)))).start("echo"))
    assert error.code() == Status.UNAVAILABLE
    assert server.address in error.details() and words in error.details()


def test_a_server_without_tls_where_some_is_wanted_is_told(berthd, serve, dial, certificates):
    server = serve()
    settings = {"endpoints": [f"grpcs://{server.address}"], "ca": str(certificates.ca)}
    error = error_of(dial(berthd({"up": settings})).start("echo"))
    assert error.code() == Status.UNAVAILABLE
    assert server.address in error.details()


def test_a_server_with_tls_that_restarts_is_found_again(berthd, serve, dial, certificates):
    server = serve(tls=certificates.server("127.0.0.1"))
    client = dial(berthd(pool(server, ca=str(certificates.ca), fail_fast=False, retry=RETRY)))
    for _ in range(2):
        assert client.call("who") == b"up"
        server.kill()
        server.start()
    assert client.call("who") == b"up"


# ---- the administrator, reload ----


def test_renew_replaces_channels_under_load_and_fails_no_call(berthd, serve):
    servers = [serve(name) for name in ("a", "b")]
    daemon = berthd(pool(*servers))
    with Load(socket_of(daemon)) as load:
        load.go_on()
        for _ in range(5):
            done = ctl(daemon, "renew", "up")
            assert done.returncode == 0, done.stderr
            load.go_on()
    assert load.errors == []
    assert sum(server.state("peers") for server in servers) > 6


def test_calls_go_on_while_their_channel_is_renewed(berthd, serve, dial):
    server = serve()
    daemon = berthd(pool(server))
    client = dial(daemon)
    gate = Gate()
    talk = client.both("both", gate)
    gate.give(b"before")
    assert next(talk) == b"before"
    assert ctl(daemon, "renew", "up").returncode == 0
    wait_until(lambda: daemon.connections_to(server.port) == 2, "there is another")
    assert client.call("who") == b"up"
    gate.give(b"after")
    assert next(talk) == b"after"
    gate.end()
    assert list(talk) == []
    wait_until(lambda: daemon.connections_to(server.port) == 1, "the old one is closed")


def test_a_paused_pool_has_calls_wait_and_a_disabled_one_refuses_them(berthd, serve, dial):
    daemon = berthd(pool(serve(), acquire_timeout="20s"))
    client = dial(daemon)
    assert client.call("who") == b"up"
    assert ctl(daemon, "pause", "up").returncode == 0
    call = client.start("echo", b"later")
    assert ctl(daemon, "resume", "up").returncode == 0
    assert call.result() == b"later"
    assert ctl(daemon, "disable", "up").returncode == 0
    error = error_of(client.start("echo"))
    assert (error.code(), error.details()) == (Status.UNAVAILABLE, "up is disabled")
    assert ctl(daemon, "enable", "up").returncode == 0
    assert client.call("who") == b"up"


def test_a_reload_adds_and_removes_a_channel_pool(berthd, serve, dial):
    server, other = serve("one"), serve("other")
    daemon = berthd(pool(server))
    kept = dial(daemon)
    assert kept.call("who") == b"one"
    both = {**pool(server), "more": {"endpoints": [other.url]}}
    daemon.reload(both)
    more = dial(daemon, key="more")
    assert more.call("who") == b"other"
    gate = Gate()
    talk = more.both("both", gate)
    gate.give(b"before")
    assert next(talk) == b"before"
    daemon.reload(pool(server))
    assert error_of(more.start("who")).code() == Status.UNAVAILABLE
    assert kept.call("who") == b"one"
    gate.give(b"after")
    assert next(talk) == b"after"
    gate.end()
    assert list(talk) == []
    wait_until(lambda: daemon.connections_to(other.port) == 0, "its channel is closed")
    daemon.reload(both)
    wait_until(lambda: Client(socket_of(daemon, "more")).call("who") == b"other", "it is back")


def test_unused_channels_close_after_idle_timeout(berthd, serve, dial):
    server = serve()
    daemon = berthd(pool(server, idle_timeout="200ms"))
    client = dial(daemon)
    assert client.call("who") == b"up"
    assert daemon.connections_to(server.port) == 1
    client.close()
    wait_until(lambda: daemon.connections_to(server.port) == 0, "it is closed")
    assert dial(daemon).call("who") == b"up"


# ---- the end of berthd ----


def test_berthd_ends_once_its_calls_have(berthd, serve, dial):
    server = serve()
    daemon = berthd(pool(server), drain_timeout="20s")
    client, other = dial(daemon), dial(daemon)
    gate = Gate()
    talk = client.both("both", gate)
    gate.give(b"before")
    assert next(talk) == b"before"
    assert other.call("who") == b"up"
    daemon.signal(signal.SIGTERM)

    def refused():
        with contextlib.suppress(grpc.RpcError):
            return not other.call("who")
        return True
    wait_until(refused, "nothing new is taken")
    gate.give(b"after")
    assert next(talk) == b"after"
    assert daemon.runs()
    gate.end()
    assert list(talk) == []
    assert daemon.wait() == 0


def test_calls_that_outlast_drain_timeout_end_with_berthd(berthd, serve, dial):
    server = serve()
    daemon = berthd(pool(server), drain_timeout="300ms")
    held = dial(daemon).start("hold")
    wait_until(lambda: server.state("hold") == 1, "it is there")
    daemon.signal(signal.SIGTERM)
    assert error_of(held).code() in (Status.UNAVAILABLE, Status.CANCELLED)
    assert daemon.wait() == 0
    wait_until(lambda: server.state("cancelled") == 1, "the server knows")


def test_a_killed_berthd_is_found_again_by_its_clients(berthd, serve, dial):
    server = serve()
    daemon = berthd(pool(server))
    client = dial(daemon)
    assert client.call("who") == b"up"
    daemon.kill()
    daemon.start()

    def answered():
        with contextlib.suppress(grpc.RpcError):
            return client.call("who") == b"up"
    wait_until(answered, "it answers")


# ---- servers that fall silent ----


def test_a_server_that_falls_silent_is_found_by_keepalive(berthd, serve, dial):
    silent, other = serve("silent"), serve("other")
    daemon = berthd(pool(silent, other, keepalive_time="10s", keepalive_timeout="5s", dial_timeout="5s"))
    client = dial(daemon)
    wait_until(lambda: {client.call("who") for _ in range(2)} == {b"silent", b"other"}, "both take part")
    silent.signal(signal.SIGSTOP)
    calls = [client.start("who") for _ in range(2)]
    ended = [wait_until(call.done, "it ends") and call for call in calls]
    [lost] = [call for call in ended if call.exception()]
    assert lost.exception().code() == Status.UNAVAILABLE
    assert silent.address in lost.exception().details() and "keepalive_timeout" in lost.exception().details()
    assert {client.call("who") for _ in range(10)} == {b"other"}
    silent.signal(signal.SIGCONT)
    wait_until(lambda: {client.call("who") for _ in range(2)} == {b"silent", b"other"}, "it takes part again")
