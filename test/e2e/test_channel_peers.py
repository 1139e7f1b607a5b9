"""Channel pools with clients and servers that go by the letter of HTTP/2, or not even by that."""

import contextlib
import socket
import subprocess

import pytest

import berth
from processes import NOBODY, wait_until
from servers import need

pytest.importorskip("grpc")

from channels import Client, socket_of  # noqa: E402
from http2 import Code, Http2Client, Http2Upstream, framed, good, h2, respond  # noqa: E402


@pytest.fixture
def serve():
    """serve(handle) starts a server that does as handle(peer, event) says."""
    with contextlib.ExitStack() as stack:
        yield lambda handle=good, **options: stack.enter_context(Http2Upstream(handle, **options))


@pytest.fixture
def dial():
    """dial(daemon) is a client of its pool's socket."""
    with contextlib.ExitStack() as stack:
        yield lambda daemon, **options: stack.enter_context(contextlib.closing(
            Http2Client.at(socket_of(daemon).removeprefix("unix:"), **options)))


def pool(*servers, **settings):
    return {"up": {"endpoints": [server.url for server in servers], **settings}}


def on_request(action):
    """handle() of a server for each request once it is complete: action(peer, stream, number), from 1."""
    numbers = iter(range(1, 1 << 30))

    def handle(peer, event):
        if isinstance(event, h2.events.StreamEnded):
            action(peer, event.stream_id, next(numbers))
    return handle


# ---- requests ----


@pytest.mark.parametrize("authority", ["localhost", "/run/berth/sockets/up.sock", "%2Frun%2Fup.sock", "", None])
def test_the_server_sees_the_pools_authority_and_scheme(berthd, serve, dial, authority):
    server = serve()
    client = dial(berthd(pool(server)))
    assert client.answer(client.call(authority=authority)).grpc_status == "0"
    [request] = server.requests
    assert (request[":authority"], request[":scheme"], request[":path"]) == (server.address, "http", "/up/echo")


def test_fields_pass_as_they_are(berthd, serve, dial):
    server = serve()
    client = dial(berthd(pool(server)))
    fields = [("traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"), ("grpc-encoding", "identity"),
              ("user-agent", "by-hand/1"), ("x-empty", ""), ("x-blob-bin", "AP8")]
    client.answer(client.call(*fields))
    assert set(fields) <= set(server.requests[0].items())


def test_trailers_of_a_request_arrive(berthd, serve, dial):
    seen = []

    def handle(peer, event):
        if isinstance(event, h2.events.TrailersReceived):
            seen.append(dict(event.headers))
        good(peer, event)

    client = dial(berthd(pool(serve(handle))))
    stream = client.call(end=False)
    client.http2.send_headers(stream, [("x-late", "yes")], end_stream=True)
    client.flush()
    assert client.answer(stream).grpc_status == "0"
    assert seen == [{"x-late": "yes"}]


def test_a_connection_of_nonsense_is_told_and_ended(berthd, serve, dial):
    daemon = berthd(pool(serve()))
    with socket.socket(socket.AF_UNIX) as sock:
        sock.connect(socket_of(daemon).removeprefix("unix:"))
        sock.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n" * 3)
        said = b"".join(iter(lambda: sock.recv(4096), b""))
    assert b"does not speak HTTP/2" in said
    client = dial(daemon)
    assert client.answer(client.call()).grpc_status == "0"


def test_a_malformed_request_ends_alone(berthd, serve, dial):
    client = dial(berthd(pool(serve())))
    bad = client.request(("Upper", "case"))
    assert client.answer(bad).reset == Code.PROTOCOL_ERROR
    assert client.answer(client.call()).grpc_status == "0"


# ---- answers ----


def test_an_answer_of_trailers_alone_stays_one(berthd, serve, dial):
    def answer(peer, stream, _):
        peer.http2.send_headers(stream, [(":status", "200"), ("content-type", "application/grpc"), ("grpc-status", "5"),
                                         ("grpc-message", "not%20here")], end_stream=True)

    client = dial(berthd(pool(serve(on_request(answer)))))
    answer = client.answer(client.call())
    assert (answer.grpc_status, answer.headers["grpc-message"], answer.data) == ("5", "not%20here", b"")
    assert answer.trailers is None


def test_an_answer_before_the_request_is_complete_ends_the_rest_of_it(berthd, serve, dial):
    def handle(peer, event):
        if isinstance(event, h2.events.RequestReceived):
            respond(peer, event.stream_id, status="3")
            peer.http2.reset_stream(event.stream_id, Code.NO_ERROR)

    client = dial(berthd(pool(serve(handle))))
    stream = client.call(end=False)
    answer = client.answer(stream, lambda answer: answer.ended and answer.reset is not None)
    assert (answer.grpc_status, answer.reset) == ("3", Code.NO_ERROR)


def test_a_refusal_by_berthd_ends_the_rest_of_the_request_too(berthd, dial, serve):
    server = serve()
    server.close()
    client = dial(berthd(pool(server)))
    stream = client.call(end=False)
    answer = client.answer(stream, lambda answer: answer.ended and answer.reset is not None)
    assert (answer.grpc_status, answer.reset) == ("14", Code.NO_ERROR)
    assert "no%20upstream" in answer.headers["grpc-message"].replace(" ", "%20")


def test_a_request_that_is_no_call_of_grpc_is_carried_too_and_refused_as_http(berthd, serve, dial):
    def answer(peer, stream, _):
        peer.http2.send_headers(stream, [(":status", "204")], end_stream=True)

    server = serve(on_request(answer))
    client = dial(berthd(pool(server)))
    assert client.answer(client.request(method="GET", path="/plain")).headers[":status"] == "204"
    server.close()
    wait_until(lambda: client.answer(client.request(method="GET")).headers[":status"] == "503", "it is refused")


# ---- resets, GOAWAY ----


@pytest.mark.parametrize("code, status", [(Code.CANCEL, "1"), (Code.INTERNAL_ERROR, "13"),
                                          (Code.ENHANCE_YOUR_CALM, "8"), (Code.INADEQUATE_SECURITY, "7")])
def test_a_servers_reset_becomes_a_status(berthd, serve, dial, code, status):
    server = serve(on_request(lambda peer, stream, _: peer.http2.reset_stream(stream, code)))
    client = dial(berthd(pool(server)))
    answer = client.answer(client.call())
    assert answer.grpc_status == status
    assert code.name in answer.headers["grpc-message"] and server.address in answer.headers["grpc-message"]


def test_a_reset_in_the_middle_of_an_answer_ends_it_with_a_status(berthd, serve, dial):
    def answer(peer, stream, _):
        peer.http2.send_headers(stream, [(":status", "200"), ("content-type", "application/grpc")])
        peer.http2.send_data(stream, framed(b"half"))
        peer.http2.reset_stream(stream, Code.INTERNAL_ERROR)

    client = dial(berthd(pool(serve(on_request(answer)))))
    answer = client.answer(client.call())
    assert (answer.data, answer.grpc_status) == (framed(b"half"), "13")


def test_what_a_server_refuses_unseen_is_tried_again_without_retry(berthd, serve, dial):
    def answer(peer, stream, number):
        if number <= 2:
            peer.http2.reset_stream(stream, Code.REFUSED_STREAM)
        else:
            respond(peer, stream, b"third")

    server = serve(on_request(answer))
    client = dial(berthd(pool(server)))
    answer = client.answer(client.call(message=b"keep me"))
    assert (answer.grpc_status, answer.data) == ("0", framed(b"third"))
    assert len(server.requests) == 3


def test_a_server_that_refuses_everything_is_believed_in_the_end(berthd, serve, dial):
    server = serve(on_request(lambda peer, stream, _: peer.http2.reset_stream(stream, Code.REFUSED_STREAM)))
    client = dial(berthd(pool(server)))
    assert client.answer(client.call()).grpc_status == "14"
    assert len(server.requests) < 20


def test_calls_beyond_a_goaway_are_carried_by_the_next_connection(berthd, serve, dial):
    def handle(peer, event):
        if isinstance(event, h2.events.StreamEnded):
            if len(server.peers) == 1:  # as if none had been seen
                peer.http2.close_connection(Code.NO_ERROR, last_stream_id=0)
                peer.flush()
                peer.sock.shutdown(socket.SHUT_WR)
            else:
                respond(peer, event.stream_id, b"second")

    server = serve(handle)
    client = dial(berthd(pool(server, fail_fast=False)))
    answer = client.answer(client.call())
    assert (answer.grpc_status, answer.data) == ("0", framed(b"second"))


def test_calls_that_a_goaway_includes_go_on(berthd, serve, dial):
    streams = []

    def handle(peer, event):
        if not isinstance(event, h2.events.StreamEnded):
            return
        if peer is not server.peers[0]:
            respond(peer, event.stream_id, b"new")
        elif not streams:
            streams.append(event.stream_id)
            # h2 itself would take the connection to be over.
            peer.sock.sendall(b"\0\0\x08\x07\0\0\0\0\0" + event.stream_id.to_bytes(4, "big") + bytes(4))

    server = serve(handle)
    client = dial(berthd(pool(server, fail_fast=False)))
    first = client.call()
    wait_until(lambda: streams, "it is there")
    assert client.answer(client.call()).data == framed(b"new")
    respond(server.peers[0], streams[0], b"old")
    server.peers[0].flush()
    assert client.answer(first).data == framed(b"old")
    assert len(server.peers) == 2


def test_a_goaway_with_an_error_is_logged_with_its_words(berthd, serve, dial):
    def answer(peer, stream, _):
        peer.http2.close_connection(Code.ENHANCE_YOUR_CALM, b"too_many_pings", last_stream_id=stream)

    daemon = berthd(pool(serve(on_request(answer))))
    dial(daemon).call()
    wait_until(lambda: "ENHANCE_YOUR_CALM" in daemon.log() and "too_many_pings" in daemon.log(), "it is logged")


# ---- leases ----


def test_a_lease_is_a_channel_of_its_own(berthd, serve):
    server = serve()
    daemon = berthd(pool(server))
    with daemon.session() as session:
        for _ in range(2):
            with session.lease("up") as lease:
                assert lease.sock.family == socket.AF_UNIX
                client = Http2Client(lease.sock)
                assert client.answer(client.call()).grpc_status == "0"
    assert len(server.peers) == 1


def test_berth_exec_gives_a_program_its_channel(berthd, serve):
    daemon = berthd(pool(serve()))
    script = ("import socket; s = socket.socket(fileno=3); "
              "s.sendall(b'PRI * HTTP/2.0\\r\\n\\r\\nSM\\r\\n\\r\\n' + bytes([0, 0, 0, 4, 0, 0, 0, 0, 0])); "
              "print(s.recv(9)[3])")
    done = daemon.berth("exec", "up", "--", "/usr/bin/python3", "-c", script)
    assert (done.returncode, done.stdout, done.stderr) == (0, "4\n", "")  # SETTINGS


def test_the_end_of_a_session_ends_its_channel_and_its_calls(berthd, serve):
    server = serve(lambda peer, event: None)
    daemon = berthd(pool(server))
    session = daemon.session()
    lease = session.lease("up")
    client = Http2Client(lease.sock.dup())
    client.call()
    wait_until(lambda: server.requests, "it is there")
    session.close()
    client.read_to_end()
    wait_until(lambda: server.resets == [Code.CANCEL], "the server knows")


def try_socket(parent, path):
    with socket.socket(socket.AF_UNIX) as sock:
        try:
            sock.connect(path)
            sock.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
            return len(sock.recv(100)) > 0
        except OSError as error:
            return type(error).__name__


@pytest.mark.usefixtures("as_root")
def test_who_is_not_allowed_gets_no_channel(berthd, serve, child):
    daemon = berthd(pool(serve(), allow_users=[0]), user=False)
    path = socket_of(daemon).removeprefix("unix:")
    assert child(try_socket, path, uid=0).result() is True
    assert child(try_socket, path, uid=NOBODY).result() in (False, "PermissionError", "ConnectionResetError",
                                                            "BrokenPipeError")

    def lease(parent, path):
        try:
            with berth.Session(path) as session, session.lease("up"):
                return "granted"
        except berth.Error as error:
            return str(error)
    assert "uid 65534 (nobody) may not" in child(lease, daemon.path, uid=NOBODY).result()


# ---- load ----


def test_h2load_through_berthd_to_nghttpd_loses_nothing(berthd, folder, start):
    loader, server = need("h2load", "nghttpd")
    from processes import Program, free_port, try_connect
    port = free_port()
    (folder / "index.html").write_text("x" * 1000)
    running = Program(folder, server, "--no-tls", "-d", folder, port)
    try:
        running.ready(lambda: try_connect(port))
        daemon = berthd({"up": {"endpoints": [f"grpc://127.0.0.1:{port}"]}})
        done = subprocess.run([loader, "-n", "20000", "-c", "8", "-m", "32", f"--base-uri={socket_of(daemon)}",
                               "http://localhost/index.html"], capture_output=True, text=True, timeout=60)
        assert "20000 succeeded, 0 failed, 0 errored, 0 timeout" in done.stdout, done.stdout
    finally:
        running.kill()
