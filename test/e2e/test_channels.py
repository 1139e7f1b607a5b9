"""Channel pools: any gRPC client on their socket, calls carried over channels that all share."""

import contextlib
import itertools
import json
import os
import re
import signal
import socket
import threading
import time

import pytest

from processes import DEADLINE_S, free_port, wait_until

grpc = pytest.importorskip("grpc")

from channels import MEMORY_TELLS, Client, Gate, GrpcUpstream, Load, error_of, memory_of, socket_of  # noqa: E402
from control import ctl, rows  # noqa: E402

Status = grpc.StatusCode
MIB = 1 << 20


@pytest.fixture
def serve(folder):
    """serve(name, **options) starts a server."""
    with contextlib.ExitStack() as stack:
        def start(name="up", **options):
            server = GrpcUpstream(folder / name, name, **options)
            stack.callback(server.kill)
            return server
        yield start


@pytest.fixture
def dial():
    """dial(daemon) is a client of its pool's socket."""
    with contextlib.ExitStack() as stack:
        yield lambda daemon, *options, key="up": stack.enter_context(Client(socket_of(daemon, key), *options))


def pool(*servers, **settings):
    return {"up": {"endpoints": [server.url for server in servers], **settings}}


# ---- calls ----


def test_the_four_kinds_of_call(berthd, serve, dial):
    client = dial(berthd(pool(serve())))
    assert client.call("echo", b"unary") == b"unary"
    assert client.call("echo", b"") == b""
    assert client.up("length", [b"a", b"bc", b"", b"def"]) == b"6"
    assert client.up("length", []) == b"0"
    assert [each.rstrip(b".") for each in client.down("count", b"5 10")] == [b"0", b"1", b"2", b"3", b"4"]
    assert list(client.down("count", b"0 1")) == []
    assert list(client.both("both", iter([b"x", b"y", b"z"]))) == [b"x", b"y", b"z"]


def test_a_conversation_takes_turns(berthd, serve, dial):
    gate = Gate()
    answers = dial(berthd(pool(serve()))).both("both", gate)
    for number in range(100):
        gate.give(b"%d" % number)
        assert next(answers) == b"%d" % number
    gate.end()
    assert list(answers) == []


def test_all_clients_share_one_connection(berthd, serve, dial):
    server = serve()
    daemon = berthd(pool(server))
    clients = [dial(daemon) for _ in range(8)]
    for client in clients * 3:
        assert client.call("echo", b"hello") == b"hello"
    assert daemon.connections_to(server.port) == 1
    assert server.state("echo") == 24


def test_first_users_at_once_cause_one_dial(berthd, serve, dial):
    server = serve()
    daemon = berthd(pool(server))
    calls = [dial(daemon).start("echo", b"first") for _ in range(10)]
    assert [call.result() for call in calls] == [b"first"] * 10
    assert daemon.connections_to(server.port) == 1


def test_metadata_text_and_binary_arrive_both_ways(berthd, serve, dial):
    client = dial(berthd(pool(serve())))
    sent = (("x-text", "plain"), ("x-blob-bin", bytes(range(256))), ("x-text", "twice"), ("x-long", "y" * 5000))
    call = client.start("echo", b"", metadata=sent)
    call.result()
    got = {pair for pair in call.initial_metadata() if pair[0].startswith("x-")}
    assert got == set(sent)
    late = {pair for pair in call.trailing_metadata() if pair[0].startswith("x-")}
    assert late == {("x-text-too", "plain"), ("x-text-too", "twice"), ("x-blob-too-bin", bytes(range(256))),
                    ("x-long-too", "y" * 5000)}


def test_metadata_longer_than_the_pool_takes_end_their_call_alone(berthd, serve, dial):
    client = dial(berthd(pool(serve(), max_header_bytes="16KiB")))
    error = error_of(client.start("echo", b"", metadata=[("x-long", "y" * 20_000)]))
    assert error.code() == Status.RESOURCE_EXHAUSTED
    assert client.call("echo", b"next") == b"next"


def test_a_servers_error_arrives_with_its_words_and_trailers(berthd, serve, dial):
    client = dial(berthd(pool(serve())))
    for method in "fail", "fail_late":
        request = b'{"code": "FAILED_PRECONDITION", "text": "it is \\u00fcber 100 % full\\nreally"}'
        call = client.start(method, request) if method == "fail" else client.down(method, request)
        error = error_of(call if method == "fail" else lambda: list(call))
        assert (error.code(), error.details()) == (Status.FAILED_PRECONDITION, "it is über 100 % full\nreally")
        assert {("why-bin", b"\0\xff"), ("x-told", "once")} <= set(map(tuple, error.trailing_metadata()))


def test_an_unknown_method_is_the_servers_to_refuse(berthd, serve, dial):
    error = error_of(dial(berthd(pool(serve()))).start("no_such"))
    assert error.code() == Status.UNIMPLEMENTED


def test_an_odd_authority_does_no_harm(berthd, serve, dial):
    daemon = berthd(pool(serve()))
    for authority in "localhost", "/run/berth/up.sock", "%2Frun%2Fup", "a b", "user@host:1":
        with contextlib.closing(dial(daemon, ("grpc.default_authority", authority))) as client:
            assert client.call("echo", b"fine") == b"fine"


# ---- the access log ----


def lines_of(daemon):
    return [json.loads(line) for line in daemon.log().splitlines() if line.startswith("{")]


def test_the_access_log_has_a_line_of_json_for_each_call(berthd, serve, dial):
    server = serve()
    daemon = berthd(pool(server, access_log=True))
    client = dial(daemon)
    client.call("echo", b"12345")
    error_of(client.start("fail", json.dumps({"code": "NOT_FOUND", "text": "no"}).encode()))
    held = client.start("hold")
    wait_until(lambda: server.state("hold") == 1, "it is there")
    held.cancel()
    wait_until(lambda: len(lines_of(daemon)) == 3, "all are over")
    echoed, failed, cancelled = lines_of(daemon)
    assert re.fullmatch(r"20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", echoed["time"])
    assert (echoed["pool"], echoed["pid"], echoed["uid"]) == ("up", os.getpid(), os.getuid())
    assert (echoed["method"], echoed["server"], echoed["attempts"]) == ("/up/echo", server.address, 1)
    assert (echoed["request_bytes"], echoed["response_bytes"]) == (10, 10)
    assert (echoed["http_status"], echoed["status"], echoed["ended_by"]) == ("200", "OK", "server")
    assert 0 <= echoed["waited_ms"] <= echoed["ms"] < 60_000
    assert (failed["status"], failed["ended_by"]) == ("NOT_FOUND", "server")
    assert (cancelled["status"], cancelled["ended_by"]) == ("CANCELLED", "client")


def test_of_a_call_that_no_server_got_it_says_why(berthd, dial):
    daemon = berthd({"up": {"endpoints": [f"grpc://127.0.0.1:{free_port()}"], "access_log": True}})
    error_of(dial(daemon).start("echo"))
    wait_until(lambda: lines_of(daemon), "it is over")
    line, = lines_of(daemon)
    assert (line["status"], line["ended_by"], line["attempts"]) == ("UNAVAILABLE", "berthd", 0)
    assert "refused" in line["message"] and "server" not in line


def test_without_access_log_there_is_no_line(berthd, serve, dial):
    daemon = berthd(pool(serve()))
    dial(daemon).call("echo")
    daemon.reload(pool(serve("other"), access_log=True))
    dial(daemon).call("echo")
    wait_until(lambda: lines_of(daemon), "the second has one")
    assert len(lines_of(daemon)) == 1


# ---- deadlines and cancelling ----


def test_a_deadline_ends_the_call_at_both_ends(berthd, serve, dial):
    server = serve()
    client = dial(berthd(pool(server)))
    assert error_of(client.start("hold", timeout=0.2)).code() == Status.DEADLINE_EXCEEDED
    wait_until(lambda: server.state("cancelled") == 1, "the server knows")
    assert client.call("echo", b"next") == b"next"


def test_a_client_that_cancels_is_heard_by_the_server(berthd, serve, dial):
    server = serve()
    client = dial(berthd(pool(server)))
    calls = [client.start("hold") for _ in range(20)]
    wait_until(lambda: server.state("hold") == 20, "they are there")
    for call in calls:
        call.cancel()
    wait_until(lambda: server.state("cancelled") == 20, "the server knows")
    assert client.call("echo", b"next") == b"next"


def test_a_client_that_goes_away_ends_its_calls_and_no_other(berthd, serve, dial):
    server = serve()
    daemon = berthd(pool(server))
    stays, goes = dial(daemon), dial(daemon)
    kept = stays.start("hold")
    calls = [goes.start("hold") for _ in range(10)]
    wait_until(lambda: server.state("hold") == 11, "they are there")
    goes.close()
    wait_until(lambda: server.state("cancelled") == 10, "the server knows")
    server.set_free()
    assert kept.result() == b""
    assert {error_of(call).code() for call in calls} == {Status.CANCELLED}


def test_calls_cancelled_by_the_hundred_leave_room_for_others(berthd, serve, dial):
    server = serve(max_concurrent_streams=10)
    client = dial(berthd(pool(server, max_channels=1)))
    for _ in range(20):
        calls = [client.start("hold") for _ in range(20)]
        for call in calls:
            call.cancel()
    assert client.call("echo", b"next") == b"next"
    wait_until(lambda: server.state("now") == 0, "nothing is under way")


# ---- without a server ----


def test_without_a_server_a_call_fails_at_once_with_the_cause(berthd, dial):
    port = free_port()
    client = dial(berthd({"up": {"endpoints": [f"grpc://127.0.0.1:{port}"]}}))
    for _ in range(2):
        error = error_of(client.start("echo"))
        assert error.code() == Status.UNAVAILABLE
        assert re.search(f"no upstream: .*127.0.0.1:{port}.*refused", error.details())


def test_a_name_that_does_not_exist_is_told(berthd, dial):
    client = dial(berthd({"up": {"endpoints": ["grpc://no-such-host.invalid:50051"]}}))
    error = error_of(client.start("echo"))
    assert error.code() == Status.UNAVAILABLE
    assert "no-such-host.invalid" in error.details()


def test_without_fail_fast_a_call_waits_for_a_server(berthd, serve, dial):
    port = free_port()
    daemon = berthd({"up": {"endpoints": [f"grpc://127.0.0.1:{port}"], "fail_fast": False,
                            "acquire_timeout": "20s"}})
    call = dial(daemon).start("echo", b"patience")
    wait_until(lambda: "refused" in daemon.log(), "a dial has failed")
    serve(port=port)
    assert call.result() == b"patience"


def test_a_wait_ends_with_acquire_timeout_and_says_why(berthd, dial):
    client = dial(berthd({"up": {"endpoints": [f"grpc://127.0.0.1:{free_port()}"], "fail_fast": False,
                                 "acquire_timeout": "300ms"}}))
    error = error_of(client.start("echo"))
    assert error.code() == Status.UNAVAILABLE
    assert "acquire_timeout" in error.details() and "refused" in error.details()


def test_the_server_is_told_what_a_wait_has_left_of_the_deadline(berthd, serve, dial):
    daemon = berthd(pool(serve()))
    client = dial(daemon)
    client.call("who")
    assert ctl(daemon, "pause", "up").returncode == 0
    begun = time.monotonic()
    call = client.start("patience", timeout=60)
    wait_until(lambda: time.monotonic() > begun + 0.5, "it has waited")
    waited = time.monotonic() - begun
    assert ctl(daemon, "resume", "up").returncode == 0
    assert 40 < float(call.result()) < 60 - waited + 0.1


def test_a_wait_ends_with_the_calls_deadline(berthd, dial):
    client = dial(berthd({"up": {"endpoints": [f"grpc://127.0.0.1:{free_port()}"], "fail_fast": False}}))
    assert error_of(client.start("echo", timeout=0.3)).code() == Status.DEADLINE_EXCEEDED


def test_a_server_that_says_nothing_is_told(berthd, dial):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        client = dial(berthd({"up": {"endpoints": [f"grpc://127.0.0.1:{port}"], "dial_timeout": "300ms"}}))
        error = error_of(client.start("echo"))
        assert error.code() == Status.UNAVAILABLE
        assert re.search(f"127.0.0.1:{port}.*dial_timeout", error.details())


def test_a_server_that_speaks_something_else_is_told(berthd, upstream, dial):
    client = dial(berthd({"up": {"endpoints": [f"grpc://127.0.0.1:{upstream.port}"], "dial_timeout": "2s"}}))
    error = error_of(client.start("echo"))
    assert error.code() == Status.UNAVAILABLE
    assert f"127.0.0.1:{upstream.port}" in error.details()


def test_a_server_that_comes_late_serves_what_comes_after(berthd, serve, dial):
    port = free_port()
    client = dial(berthd({"up": {"endpoints": [f"grpc://127.0.0.1:{port}"]}}))
    assert error_of(client.start("echo")).code() == Status.UNAVAILABLE
    serve(port=port)

    def answered():
        with contextlib.suppress(grpc.RpcError):
            return client.call("who") == b"up"
    wait_until(answered, "it answers")


# ---- large messages ----


def test_messages_of_64_mib_pass_in_little_memory(berthd, serve, dial):
    daemon = berthd(pool(serve()))
    client = dial(daemon)
    assert client.call("echo", b"warm") == b"warm"
    most = [0]
    over = threading.Event()

    def watch():
        while not over.wait(0.01):
            most[0] = max(most[0], memory_of(daemon.pid))

    before = memory_of(daemon.pid)
    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        text = b"0123456789abcdef" * (4 * MIB)
        assert client.call("echo", text, timeout=120) == text
    finally:
        over.set()
        watcher.join()
    if MEMORY_TELLS:
        assert most[0] - before < 24 * MIB


def test_a_client_that_does_not_read_holds_up_no_other(berthd, serve, dial):
    daemon = berthd(pool(serve()))
    stalled = dial(daemon).down("count", b"64 1000000")
    assert next(stalled).startswith(b"0")
    other = dial(daemon)
    before = memory_of(daemon.pid)
    for number in range(200):
        assert other.call("echo", b"%d" % number) == b"%d" % number
    if MEMORY_TELLS:
        assert memory_of(daemon.pid) - before < 16 * MIB
    assert [int(each.rstrip(b".")) for each in stalled] == list(range(1, 64))


def test_a_client_that_reads_nothing_is_dropped_where_all_calls_together_wait_for_too_much(berthd, serve, dial):
    daemon = berthd(pool(serve()), total_stream_buffer="16MiB")
    hog, other = dial(daemon), dial(daemon)
    other.call("who")
    stalled = [hog.down("count", b"64 1000000") for _ in range(90)]
    wait_until(lambda: "total_stream_buffer" in daemon.log(), "it is dropped")
    assert f"process {os.getpid()} is dropped" in daemon.log()
    wait_until(lambda: all(call.done() for call in stalled), "its calls end")
    assert {call.code() for call in stalled} == {Status.UNAVAILABLE}
    assert other.call("echo", b"unhurt") == b"unhurt"
    assert daemon.log().count("is dropped") == 1


def test_many_streams_that_flow_at_once(berthd, serve, dial):
    daemon = berthd(pool(serve()))
    streams = [dial(daemon).down("count", b"50 20000") for _ in range(10)]
    for stream in streams:
        assert [int(each.rstrip(b".")) for each in stream] == list(range(50))


# ---- limits of streams ----


@pytest.mark.parametrize("most, channels", [(1, 1), (10, 1), (10, 4), (100, 4)])
def test_a_thousand_calls_at_once_against_the_servers_limit(berthd, serve, dial, most, channels):
    server = serve(max_concurrent_streams=most)
    daemon = berthd(pool(server, max_channels=channels, acquire_timeout="1m"))
    clients = [dial(daemon) for _ in range(4)]
    calls = [clients[i % 4].start("echo", b"%d" % i, timeout=60) for i in range(1000)]
    assert [call.result() for call in calls] == [b"%d" % i for i in range(1000)]
    assert daemon.connections_to(server.port) <= channels
    assert server.state("most") <= most * channels


def test_another_channel_is_opened_when_one_is_full_and_no_more_than_allowed(berthd, serve, dial):
    server = serve(max_concurrent_streams=5)
    daemon = berthd(pool(server, max_channels=3))
    client = dial(daemon)
    calls = [client.start("hold") for _ in range(20)]
    wait_until(lambda: server.state("hold") == 15, "three are full")
    assert daemon.connections_to(server.port) == 3
    server.set_free()
    assert [call.result() for call in calls] == [b""] * 20
    assert server.state("hold") == 20


def test_what_waits_for_a_full_channel_is_told_why(berthd, serve, dial):
    server = serve(max_concurrent_streams=2)
    client = dial(berthd(pool(server, max_channels=1, acquire_timeout="300ms")))
    held = [client.start("hold") for _ in range(2)]
    wait_until(lambda: server.state("hold") == 2, "it is full")
    error = error_of(client.start("echo"))
    assert error.code() == Status.UNAVAILABLE
    assert "acquire_timeout" in error.details() and "full with 2 streams" in error.details()
    server.set_free()
    assert [call.result() for call in held] == [b"", b""]


# ---- servers that go and come ----

# CANCELLED is what gRPC's own servers answer to what reaches them in the moment in which they stop.
RETRY = {"attempts": 4, "codes": ["UNAVAILABLE", "CANCELLED"], "backoff": "50ms"}


def test_a_server_that_restarts_is_found_again(berthd, serve, dial):
    server = serve()
    daemon = berthd(pool(server, fail_fast=False, retry=RETRY))
    client = dial(daemon)
    for ends in server.kill, lambda: (server.signal(signal.SIGTERM), server.wait()):
        assert client.call("who") == b"up"
        ends()
        server.start()
    assert client.call("who") == b"up"


def test_a_call_that_is_under_way_when_its_server_dies_fails_with_the_cause(berthd, serve, dial):
    server = serve()
    client = dial(berthd(pool(server)))
    held = client.start("hold")
    stream = client.down("fail_late", b"{}")
    answers = client.both("both", Gate())
    wait_until(lambda: server.state("hold") + server.state("both") == 2, "they are there")
    assert next(stream) == b"first"
    server.kill()
    for call in held, lambda: list(answers):
        error = error_of(call)
        assert error.code() == Status.UNAVAILABLE
        assert server.address in error.details()


def test_a_server_that_stops_finishes_what_it_has_and_gets_nothing_new(berthd, serve, dial):
    stops, stays = serve("stops"), serve("stays")
    client = dial(berthd(pool(stops, stays, retry=RETRY)))
    wait_until(lambda: {client.call("who") for _ in range(2)} == {b"stops", b"stays"}, "both take part")
    gates = [Gate() for _ in range(6)]
    talks = [client.both("both", gate) for gate in gates]
    for gate, talk in zip(gates, talks):
        gate.give(b"before")
        assert next(talk) == b"before"
    assert stops.state("both") == 3
    stops.signal(signal.SIGTERM)
    wait_until(lambda: {client.call("who") for _ in range(10)} == {b"stays"}, "the other takes all")
    for gate, talk in zip(gates, talks):
        gate.give(b"after")
        assert next(talk) == b"after"
        gate.end()
        assert list(talk) == []
    assert stops.wait() == 0


def test_a_rolling_restart_of_three_under_load_fails_no_call(berthd, serve):
    servers = [serve(name) for name in ("a", "b", "c")]
    daemon = berthd(pool(*servers, retry=RETRY))
    with Load(socket_of(daemon)) as load:
        load.go_on()
        for server in servers:
            server.signal(signal.SIGTERM)
            server.wait()
            load.go_on()
            server.start()
            since = len(load.answers)
            wait_until(lambda: set(load.answers[since:]) == {"a", "b", "c"}, "it takes part again")
    assert load.errors == []


def test_servers_killed_in_turn_under_load_fail_no_call_with_retry(berthd, serve):
    servers = [serve(name) for name in ("a", "b", "c")]
    daemon = berthd(pool(*servers, retry=RETRY))
    with Load(socket_of(daemon)) as load:
        load.go_on()
        for server in servers:
            server.kill()
            load.go_on()
            server.start()
            since = len(load.answers)
            wait_until(lambda: set(load.answers[since:]) == {"a", "b", "c"}, "it takes part again")
    assert load.errors == []


def test_retry_tries_again_what_a_server_says_is_worth_it(berthd, serve, dial):
    server = serve()
    client = dial(berthd(pool(server, retry=RETRY)))
    assert client.call("flaky", b"3") == b"4"
    error = error_of(client.start("flaky", b"100"))
    assert (error.code(), error.details()) == (Status.UNAVAILABLE, "not yet")
    assert server.state("flaky") == 8


def test_without_retry_a_servers_refusal_is_passed_on(berthd, serve, dial):
    server = serve()
    error = error_of(dial(berthd(pool(server))).start("flaky", b"1"))
    assert (error.code(), error.details()) == (Status.UNAVAILABLE, "not yet")
    assert server.state("flaky") == 1


# ---- several servers ----


def test_round_robin_is_even(berthd, serve, dial):
    servers = [serve(name) for name in ("a", "b", "c")]
    daemon = berthd(pool(*servers))
    client = dial(daemon)
    wait_until(lambda: {client.call("who") for _ in range(9)} == {b"a", b"b", b"c"}, "all take part")
    answers = [client.call("who") for _ in range(300)]
    assert {answers.count(name) for name in (b"a", b"b", b"c")} == {100}


def test_failover_uses_the_first_that_works(berthd, serve, dial):
    first, second = serve("first"), serve("second")
    client = dial(berthd(pool(first, second, balance="failover", retry=RETRY)))
    assert {client.call("who") for _ in range(20)} == {b"first"}
    first.kill()
    assert client.call("who") == b"second"
    first.start()
    wait_until(lambda: client.call("who") == b"first", "it goes back")


def test_least_streams_avoids_the_busy(berthd, serve, dial):
    one, other = serve("one"), serve("other")
    client = dial(berthd(pool(one, other, balance="least_streams")))
    held = client.start("hold")
    wait_until(lambda: one.state("hold") + other.state("hold") == 1, "it is there")
    idle = b"one" if one.state("hold") == 0 else b"other"
    wait_until(lambda: {client.call("who") for _ in range(10)} == {idle}, "both are dialled")
    for server in one, other:
        server.set_free()
    assert held.result() == b""


def test_a_reload_that_adds_servers_has_them_take_part(berthd, serve):
    servers = [serve(name) for name in ("a", "b", "c")]
    daemon = berthd(pool(servers[0], retry=RETRY))
    with Load(socket_of(daemon)) as load:
        load.go_on()
        daemon.reload(pool(*servers, retry=RETRY))
        since = len(load.answers)
        wait_until(lambda: set(load.answers[since:]) == {"a", "b", "c"}, "all take part")
        daemon.reload(pool(servers[2], retry=RETRY))
        wait_until(lambda: daemon.connections_to(servers[0].port) == 0, "what has left is closed")
        load.go_on()
        assert set(load.answers[-20:]) == {"c"}
    assert load.errors == []
