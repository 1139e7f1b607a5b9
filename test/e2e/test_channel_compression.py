"""Channel pools that compress towards their servers, whatever their clients understand."""

import contextlib
import os
import threading

import pytest

from processes import wait_until

grpc = pytest.importorskip("grpc")
pytest.importorskip("snappy")

from channels import MEMORY_TELLS, Client, GrpcUpstream, error_of, memory_of, socket_of  # noqa: E402
from grpc_encodings import compressed, decompressed, messages, packed  # noqa: E402
from http2 import Code, Http2Client, Http2Upstream, framed, good, h2, respond  # noqa: E402

Status = grpc.StatusCode
MIB = 1 << 20
TEXT = b"all work and no play " * 100
# Of a client or server of gRPC's that knows no compression.
IDENTITY_ALONE = ("grpc.compression_enabled_algorithms_bitset", 1)
both = pytest.mark.parametrize("encoding", ["snappy", "gzip"])


def pool(*servers, **settings):
    return {"up": {"endpoints": [server.url for server in servers], **settings}}


class Bodies:
    """handle() of a server: answer(peer, stream, body) once a request is complete. It keeps the bodies."""

    def __init__(self, answer):
        self.all = []
        self._answer = answer
        self._open = {}

    def __call__(self, peer, event):
        if isinstance(event, h2.events.RequestReceived):
            self._open[peer, event.stream_id] = b""
        elif isinstance(event, h2.events.DataReceived):
            self._open[peer, event.stream_id] += event.data
        elif isinstance(event, h2.events.StreamEnded):
            body = self._open.pop((peer, event.stream_id))
            self.all.append(body)
            self._answer(peer, event.stream_id, body)


def answering(encoding, *bodies):
    """answer(): those bodies, and then a good end."""
    def answer(peer, stream, _):
        peer.http2.send_headers(stream, [(":status", "200"), ("content-type", "application/grpc"),
                                         ("grpc-encoding", encoding)])
        for body in bodies:
            peer.http2.send_data(stream, body)
        peer.http2.send_headers(stream, [("grpc-status", "0"), ("x-late", "yes")], end_stream=True)
    return answer


def send(client, stream, body, piece=9999):
    for at in range(0, len(body), piece):
        while client.http2.local_flow_control_window(stream) < piece:
            client.step()
        client.http2.send_data(stream, body[at:at + piece])
        client.flush()


@pytest.fixture
def serve():
    """serve(answer) starts a server; `bodies` are those of the requests."""
    with contextlib.ExitStack() as stack:
        def start(answer=lambda peer, stream, _: respond(peer, stream, b"good")):
            handle = answer if isinstance(answer, Bodies) else Bodies(answer)
            server = stack.enter_context(Http2Upstream(handle))
            server.bodies = handle.all
            return server
        yield start


@pytest.fixture
def dial():
    """dial(daemon) is a client of its pool's socket."""
    with contextlib.ExitStack() as stack:
        yield lambda daemon, **options: stack.enter_context(contextlib.closing(
            Http2Client.at(socket_of(daemon).removeprefix("unix:"), **options)))


@pytest.fixture
def upstream(folder):
    """upstream(**options) is a server of gRPC's own."""
    with contextlib.ExitStack() as stack:
        def start(**options):
            server = GrpcUpstream(folder / "up", "up", **options)
            stack.callback(server.kill)
            return server
        yield start


# ---- requests ----


@both
def test_what_a_client_sends_plainly_the_server_gets_compressed(berthd, serve, dial, encoding):
    server = serve()
    client = dial(berthd(pool(server, compression=encoding)))
    assert client.answer(client.call(message=TEXT)).data == framed(b"good")
    [request], [body] = server.requests, server.bodies
    assert request["grpc-encoding"] == encoding
    assert request["grpc-accept-encoding"] == f"identity,{encoding}"
    [(is_compressed, data)] = messages(body)
    assert is_compressed and len(data) < len(TEXT)
    assert decompressed(encoding, data) == TEXT


@both
def test_each_message_of_a_stream_is_compressed_by_itself(berthd, serve, dial, encoding):
    server = serve()
    client = dial(berthd(pool(server, compression=encoding)))
    sent = [TEXT * (1 + number % 7) for number in range(50)] + [b"", b"short"]
    body = b"".join(map(framed, sent))
    stream = client.call(end=False, message=b"first")
    send(client, stream, body)
    client.http2.end_stream(stream)
    client.flush()
    assert client.answer(stream).grpc_status == "0"
    got = messages(server.bodies[0])
    assert [is_compressed for is_compressed, _ in got] == [False] + [True] * 50 + [False] * 2
    assert [decompressed(encoding, data) if packed else data for packed, data in got] == [b"first", *sent]


@both
def test_short_messages_keep_their_place_behind_long_ones(berthd, serve, dial, encoding):
    """Workers take the long ones."""
    sent = [message for times in range(1, 100, 7) for message in (TEXT * times, b"%d" % times, TEXT)]
    server = serve(answering(encoding, *(packed(encoding, message) for message in sent)))
    client = dial(berthd(pool(server, compression=encoding)))
    body = b"".join(map(framed, sent))
    for trailers in None, [("x-last", "words")]:
        stream = client.call(end=False, message=b"first")
        send(client, stream, body)
        client.http2.send_headers(stream, trailers, end_stream=True) if trailers else client.http2.end_stream(stream)
        client.flush()
        answer = client.answer(stream)
        assert answer.grpc_status == "0"
        assert answer.data == body
        got = messages(server.bodies.pop())
        assert [decompressed(encoding, data) if is_packed else data for is_packed, data in got] == [b"first", *sent]
        assert sum(is_packed for is_packed, _ in got) == len(sent) * 2 // 3


@both
def test_what_a_client_has_compressed_stays_as_it_is(berthd, serve, dial, encoding):
    server = serve()
    client = dial(berthd(pool(server, compression=encoding)))
    other = "gzip" if encoding == "snappy" else "snappy"
    stream = client.request(("content-type", "application/grpc"), ("grpc-encoding", other),
                            data=packed(other, TEXT) + framed(TEXT))
    assert client.answer(stream).data == framed(b"good")
    assert server.requests[0]["grpc-encoding"] == other
    assert server.bodies == [packed(other, TEXT) + framed(TEXT)]


def test_a_long_message_goes_as_it_is(berthd, serve, dial):
    server = serve()
    daemon = berthd(pool(server, compression="gzip"))
    with Client(socket_of(daemon)) as client:
        assert client.call("echo", b"x" * MIB) == b"good"
        assert client.call("echo", b"x" * (MIB + 1)) == b"good"
    assert server.requests[1]["grpc-encoding"] == "gzip"
    [[(first, data)], second] = map(messages, server.bodies)
    assert first and decompressed("gzip", data) == b"x" * MIB
    assert second == [(False, b"x" * (MIB + 1))]


def test_another_attempt_is_compressed_as_the_first_was(berthd, serve, dial):
    def refuse_one(peer, stream, _):
        if sum(len(server.bodies) for server in servers) > 1:
            return respond(peer, stream, b"good")
        peer.http2.send_headers(stream, [(":status", "200"), ("grpc-status", "14")], end_stream=True)

    servers = [serve(refuse_one), serve(refuse_one)]
    client = dial(berthd(pool(*servers, compression="snappy", retry={"attempts": 2, "backoff": "1ms"})))
    assert client.answer(client.call(message=TEXT)).data == framed(b"good")
    [first], [second] = servers[0].bodies, servers[1].bodies
    assert first == second and decompressed("snappy", messages(first)[0][1]) == TEXT
    assert [server.requests[0]["grpc-encoding"] for server in servers] == ["snappy"] * 2


def test_a_compressed_message_without_an_encoding_ends_its_call(berthd, serve, dial):
    client = dial(berthd(pool(serve(), compression="snappy")))
    stream = client.request(("content-type", "application/grpc"), data=packed("gzip", TEXT))
    answer = client.answer(stream)
    assert answer.grpc_status == "13"
    assert answer.headers["grpc-message"] == ("berthd cannot compress the request: a message is compressed, but "
                                              "grpc-encoding does not say how")
    assert client.answer(client.call(message=TEXT)).grpc_status == "0"


def test_a_message_that_is_cut_off_reaches_the_server_as_it_was(berthd, serve, dial):
    server = serve()
    client = dial(berthd(pool(server, compression="snappy")))
    cut = framed(TEXT)[:-1]
    client.answer(client.request(("content-type", "application/grpc"), data=cut))
    assert server.bodies == [cut]


def test_what_is_no_call_of_grpc_is_left_alone(berthd, serve, dial):
    server = serve()
    client = dial(berthd(pool(server, compression="gzip")))
    for kind in "text/plain", "application/grpc-web-text":
        client.answer(client.request(("content-type", kind), data=b"\0\0\0\0\3abc" * 50))
    assert server.bodies == [b"\0\0\0\0\3abc" * 50] * 2
    assert all("grpc-encoding" not in request for request in server.requests)


def test_a_reload_counts_for_calls_that_begin_later(berthd, serve, dial):
    server = serve()
    daemon = berthd(pool(server))
    client = dial(daemon)
    before = client.call(end=False)
    wait_until(lambda: server.requests, "the call arrives")
    daemon.reload(pool(server, compression="gzip"))
    client.http2.send_data(before, framed(TEXT), end_stream=True)
    client.flush()
    client.answer(before)
    client.answer(client.call(message=TEXT))
    assert "grpc-encoding" not in server.requests[0]
    assert server.bodies[0] == framed(b"") + framed(TEXT)
    assert server.requests[1]["grpc-encoding"] == "gzip" and messages(server.bodies[1])[0][0]


# ---- answers ----


@both
def test_an_answer_is_decompressed_for_who_does_not_accept_it(berthd, serve, dial, encoding):
    bodies = packed(encoding, TEXT) + framed(b"plain") + packed(encoding, TEXT * 2)
    client = dial(berthd(pool(serve(answering(encoding, bodies[:7], bodies[7:])), compression=encoding)))
    answer = client.answer(client.call())
    assert answer.headers["grpc-encoding"] == "identity"
    assert answer.data == framed(TEXT) + framed(b"plain") + framed(TEXT * 2)
    assert answer.trailers == {"grpc-status": "0", "x-late": "yes"}


@both
def test_an_answer_stays_compressed_for_who_accepts_it(berthd, serve, dial, encoding):
    server = serve(answering(encoding, packed(encoding, TEXT)))
    client = dial(berthd(pool(server, compression=encoding)))
    accepted = ("grpc-accept-encoding", f"identity, deflate, {encoding}")
    answer = client.answer(client.call(accepted))
    assert (answer.headers["grpc-encoding"], answer.data) == (encoding, packed(encoding, TEXT))
    assert accepted in server.requests[0].items()


def test_an_answer_in_what_berthd_did_not_ask_for_passes(berthd, serve, dial):
    client = dial(berthd(pool(serve(answering("gzip", packed("gzip", TEXT))), compression="snappy")))
    answer = client.answer(client.call())
    assert (answer.headers["grpc-encoding"], answer.data) == ("gzip", packed("gzip", TEXT))


def test_an_answer_to_the_client_that_compresses_is_decompressed_too(berthd, serve, dial):
    client = dial(berthd(pool(serve(answering("snappy", packed("snappy", TEXT))), compression="snappy")))
    stream = client.request(("content-type", "application/grpc"), ("grpc-encoding", "gzip"), data=packed("gzip", TEXT))
    assert client.answer(stream).data == framed(TEXT)


@pytest.mark.parametrize("broken, words", [
    (b"\1" + framed(b"nonsense")[1:], "a message cannot be decoded: its snappy frames are broken: they do not begin "
                                      "with the stream identifier"),
    (packed("snappy", TEXT)[:-9], "a message in snappy ends 9 bytes before its length"),
    (b"\7" + framed(b"odd")[1:], "a message begins with the byte 7, which gRPC does not know"),
])
def test_a_broken_answer_ends_its_call_with_words(berthd, serve, dial, broken, words):
    server = serve(answering("snappy", packed("snappy", TEXT), broken))
    client = dial(berthd(pool(server, compression="snappy")))
    answer = client.answer(client.call())
    assert (answer.grpc_status, answer.data) == ("13", framed(TEXT)), "what came before it has arrived"
    assert answer.trailers["grpc-message"] == f"{server.address}: berthd cannot decode the answer: {words}"
    assert client.http2.open_outbound_streams == 0


def test_a_bomb_ends_its_call(berthd, serve, dial):
    server = serve(answering("gzip", packed("gzip", b"\0" * (4 * MIB + 1))))
    client = dial(berthd(pool(server, compression="gzip")))
    answer = client.answer(client.call())
    assert (answer.grpc_status, answer.data) == ("8", b"")
    assert "it is more than 4194304 bytes when decoded" in answer.trailers["grpc-message"]


def test_a_failure_of_the_servers_own_counts_more_than_a_broken_message(berthd, serve, dial):
    def answer(peer, stream, _):
        peer.http2.send_headers(stream, [(":status", "200"), ("content-type", "application/grpc"),
                                         ("grpc-encoding", "snappy")])
        peer.http2.send_data(stream, packed("snappy", TEXT)[:-9])
        peer.http2.send_headers(stream, [("grpc-status", "9"), ("grpc-message", "so there")], end_stream=True)

    client = dial(berthd(pool(serve(answer), compression="snappy")))
    assert client.answer(client.call()).trailers == {"grpc-status": "9", "grpc-message": "so there"}


class Flood(Bodies):
    """A server whose answer to b"flood" is as much of a body as its peer lets it send, until it is all."""

    def __init__(self, body):
        self._sent = {}
        super().__init__(self._begin)
        self._body = body

    def _begin(self, peer, stream, body):
        if body != framed(b"flood"):
            return respond(peer, stream, b"good")
        peer.http2.send_headers(stream, [(":status", "200"), ("content-type", "application/grpc"),
                                         ("grpc-encoding", "gzip")])
        self._sent[peer, stream] = 0

    def __call__(self, peer, event):
        super().__call__(peer, event)
        for (who, stream), sent in list(self._sent.items()):
            if who is not peer:
                continue
            while sent < len(self._body):
                size = min(peer.http2.local_flow_control_window(stream), peer.http2.max_outbound_frame_size,
                           len(self._body) - sent)
                if size == 0:
                    break
                peer.http2.send_data(stream, self._body[sent:sent + size])
                sent += size
            self._sent[who, stream] = sent
            if sent == len(self._body):
                peer.http2.send_headers(stream, [("grpc-status", "0")], end_stream=True)
                del self._sent[who, stream]


def test_who_reads_slowly_gets_all_and_takes_little_memory(berthd, serve, dial):
    """Each message grows a thousandfold, and there are 200 MiB of them."""
    message, count = b"\0" * MIB, 200
    daemon = berthd(pool(serve(Flood(packed("gzip", message) * count)), compression="gzip"))
    other = dial(daemon)
    before = memory_of(daemon.pid)
    with Client(socket_of(daemon), IDENTITY_ALONE) as client:
        answers = client.down("flood", b"flood")
        assert next(answers) == message
        for _ in range(100):  # meanwhile it reads nothing
            assert other.answer(other.call()).data == framed(b"good")
        if MEMORY_TELLS:
            assert memory_of(daemon.pid) - before < 60 * MIB
        assert sum(answer == message for answer in answers) == count - 1


def test_who_reads_none_of_many_answers_gets_no_more_of_them(berthd, serve, dial):
    """Of the longest messages, some 70 are held for a client that lets nothing come: 256 MiB besides buffers."""
    message = b"\0" * (4 * MIB)
    daemon = berthd(pool(serve(answering("gzip", packed("gzip", message))), compression="gzip"))
    client = dial(daemon)
    client.http2.update_settings({h2.settings.SettingCodes.INITIAL_WINDOW_SIZE: 0})
    streams = [client.call() for _ in range(80)]
    over = set()
    while len(over) < 9:
        assert client.step()
        over = {stream for stream in streams if client.so_far(stream).ended}
    assert {client.so_far(stream).grpc_status for stream in over} == {"8"}
    assert "its client leaves too much of other answers unread" in client.so_far(over.pop()).trailers["grpc-message"]
    [first] = [stream for stream in streams if stream not in over][:1]
    client.http2.increment_flow_control_window(5 * MIB)
    client.http2.increment_flow_control_window(5 * MIB, first)
    client.flush()
    assert client.answer(first).data == framed(message)


def test_many_answers_that_are_read_one_after_the_other_all_arrive(berthd, serve, dial):
    """One after the other. Decompressed at once, what is under way would be 720 MiB."""
    message, count = b"\0" * (4 * MIB - 100), 3
    daemon = berthd(pool(serve(Flood(packed("gzip", message) * count)), compression="gzip"))
    before = memory_of(daemon.pid)
    with Client(socket_of(daemon), IDENTITY_ALONE) as client:
        calls = [client.down("flood", b"flood") for _ in range(60)]
        assert next(calls[0]) == message
        if MEMORY_TELLS:
            assert memory_of(daemon.pid) - before < 320 * MIB
        for call in calls[1:] + calls[:1]:
            assert all(answer == message for answer in call)


# ---- gRPC's own clients and servers ----


def test_the_four_kinds_of_call_are_compressed_to_a_server_of_grpcs(berthd, upstream):
    daemon = berthd(pool(upstream(), compression="gzip"))
    with Client(socket_of(daemon)) as client:
        assert client.call("echo", TEXT) == TEXT
        assert client.call("echo", b"") == b""
        assert client.up("length", [TEXT] * 300) == b"%d" % (300 * len(TEXT))
        assert [len(each) for each in client.down("count", b"50 5000")] == [5000] * 50
        assert list(client.both("both", iter([TEXT, b"y", TEXT * 9]))) == [TEXT, b"y", TEXT * 9]


def test_clients_that_compress_by_themselves_are_served_too(berthd, upstream):
    daemon = berthd(pool(upstream(), compression="snappy"))
    gzip = ("grpc.default_compression_algorithm", 2)
    with Client(socket_of(daemon), gzip) as client:
        assert client.call("echo", TEXT) == TEXT
        assert client.up("length", [TEXT] * 30) == b"%d" % (30 * len(TEXT))


def test_a_server_that_does_not_know_the_encoding_says_so(berthd, upstream):
    daemon = berthd(pool(upstream(compression_enabled_algorithms_bitset=1), compression="gzip"))
    with Client(socket_of(daemon)) as client:
        assert error_of(client.start("echo", TEXT)).code() == Status.UNIMPLEMENTED


def test_large_messages_and_many_calls_at_once(berthd, upstream):
    daemon = berthd(pool(upstream(), compression="gzip"))
    large = bytes(range(256)) * (32 * MIB // 256)
    with Client(socket_of(daemon)) as client:
        calls = [client.start("echo", TEXT * (number % 500)) for number in range(200)]
        assert client.call("echo", large) == large
        for number, call in enumerate(calls):
            assert call.result() == TEXT * (number % 500)


def test_who_begins_many_messages_is_dropped_where_all_calls_together_wait_for_too_much(berthd, serve, dial):
    daemon = berthd(pool(serve(), compression="gzip"), total_stream_buffer="16MiB")
    hog, other = dial(daemon), dial(daemon)
    with contextlib.suppress(ConnectionError, h2.exceptions.ProtocolError):
        for _ in range(30):
            send(hog, hog.call(end=False), framed(b"x" * MIB)[:-1])
        hog.read_to_end()
    wait_until(lambda: "total_stream_buffer" in daemon.log(), "it is dropped")
    assert f"process {os.getpid()} is dropped from a channel pool: 16" in daemon.log()
    assert other.answer(other.call(message=TEXT)).grpc_status == "0"
    assert daemon.log().count("is dropped") == 1


def test_calls_that_are_cancelled_while_a_worker_has_their_message_leave_nothing(berthd, serve, dial):
    daemon = berthd(pool(serve(), compression="gzip"))
    noise = bytes(number * number % 251 for number in range(50_000))
    for _ in range(2):
        client = dial(daemon)
        for _ in range(60):
            stream = client.call(end=False)
            send(client, stream, framed(noise))
            client.http2.reset_stream(stream, Code.CANCEL)
            client.flush()
        assert client.answer(client.call(message=TEXT)).grpc_status == "0"
        send(client, client.call(end=False), framed(noise))
        client.close()  # with one of them under way


def test_calls_that_are_cancelled_in_the_middle_of_a_message_leave_nothing(berthd, serve, dial):
    daemon = berthd(pool(serve(), compression="gzip"))
    client = dial(daemon)
    for _ in range(100):  # 100 MiB, of which a client may have 64 held
        while client.http2.outbound_flow_control_window < 10_000:
            client.step()
        stream = client.request(("content-type", "application/grpc"), data=framed(b"x" * MIB)[:10_000], end=False)
        client.http2.reset_stream(stream, Code.CANCEL)
        client.flush()
    assert client.answer(client.call(message=TEXT)).grpc_status == "0"
