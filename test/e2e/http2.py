"""HTTP/2 by hand, with python3-h2: peers that do what gRPC's own would not."""

import contextlib
import socket
import threading

import h2.config
import h2.connection
import h2.errors
import h2.events
import h2.exceptions
import h2.settings

from processes import DEADLINE_S

Code = h2.errors.ErrorCodes


class Peer:
    """One connection, either side. `http2` is that of h2; what it has to say goes with flush()."""

    def __init__(self, sock, client, settings=None):
        self.sock = sock
        self.sock.settimeout(DEADLINE_S)
        # Nobody checks what we send, nor what comes: it may be odd.
        config = h2.config.H2Configuration(client_side=client, header_encoding="utf-8", validate_inbound_headers=False,
                                           validate_outbound_headers=False, normalize_outbound_headers=False)
        self.http2 = h2.connection.H2Connection(config)
        if settings:
            self.http2.local_settings.update(settings)
        self.http2.initiate_connection()
        self.flush()

    def flush(self):
        self.sock.sendall(self.http2.data_to_send())

    def receive(self):
        """What has come next; [] at the end. Data are taken as soon as they come."""
        events = []
        while not events:  # a part of a frame is nothing yet
            try:
                data = self.sock.recv(65536)
            except ConnectionResetError:  # it was closed before all that we sent was read
                data = b""
            if not data:
                break
            events = self.http2.receive_data(data)
        for event in events:
            if isinstance(event, h2.events.DataReceived) and event.flow_controlled_length:
                with contextlib.suppress(h2.exceptions.StreamClosedError):
                    self.http2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
        with contextlib.suppress(BrokenPipeError):  # the other side has said all that it had to say
            self.flush()
        return events

    def close(self):
        self.sock.close()


class Answer:
    """What has come of one request."""

    def __init__(self):
        self.headers, self.data, self.trailers, self.reset, self.ended = None, b"", None, None, False

    @property
    def grpc_status(self):
        return (self.trailers or self.headers).get("grpc-status")


class Http2Client(Peer):
    def __init__(self, sock, settings=None):
        self.goaway = None
        self.ended = False
        self._answers = {}
        super().__init__(sock, True, settings)

    @classmethod
    def at(cls, path, **options):
        sock = socket.socket(socket.AF_UNIX)
        sock.settimeout(DEADLINE_S)
        sock.connect(path)
        return cls(sock, **options)

    def request(self, *fields, data=b"", end=True, path="/up/echo", authority="localhost", method="POST"):
        """The id of a new stream."""
        stream = self.http2.get_next_available_stream_id()
        names = [(":method", method), (":scheme", "http"), (":path", path)]
        names += [(":authority", authority)] if authority is not None else []
        self.http2.send_headers(stream, [*names, *fields], end_stream=end and not data)
        if data:
            self.http2.send_data(stream, data, end_stream=end)
        self._answers[stream] = Answer()
        self.flush()
        return stream

    def call(self, *fields, message=b"", **options):
        """A request of gRPC with one message."""
        return self.request(("content-type", "application/grpc"), ("te", "trailers"), *fields, data=framed(message),
                            **options)

    def so_far(self, stream):
        """What has come of its answer."""
        return self._answers[stream]

    def answer(self, stream, until=lambda answer: answer.ended or answer.reset is not None):
        """Of that request, once it is complete."""
        answer = self._answers[stream]
        while not until(answer):
            assert self.step(), f"the connection has ended before {vars(answer)}"
        return answer

    def step(self):
        """Takes what comes next; False at the end."""
        events = self.receive()
        for event in events:
            self._take(event)
        self.ended = not events
        return not self.ended

    def read_to_end(self):
        while self.step():
            pass

    def _take(self, event):
        if isinstance(event, h2.events.ConnectionTerminated):
            self.goaway = event
        answer = self._answers.get(getattr(event, "stream_id", None))
        if answer is None:
            return
        if isinstance(event, h2.events.ResponseReceived):
            answer.headers = dict(event.headers)
        elif isinstance(event, h2.events.DataReceived):
            answer.data += event.data
        elif isinstance(event, h2.events.TrailersReceived):
            answer.trailers = dict(event.headers)
        elif isinstance(event, h2.events.StreamReset):
            answer.reset = event.error_code
        elif isinstance(event, h2.events.StreamEnded):
            answer.ended = True


class Http2Upstream:
    """A server; handle(peer, event) is told of what comes, in the thread of its connection. `requests` are the header
    fields of all that came, `resets` the codes of those that were reset."""

    def __init__(self, handle, settings=None):
        self.requests, self.resets, self.peers = [], [], []
        self._handle = handle
        self._settings = settings
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self.address = f"127.0.0.1:{self.port}"
        self.url = f"grpc://{self.address}"
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._threads[0].start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        """Ends it and its connections; again has no effect."""
        if self._listener.fileno() < 0:
            return
        self._listener.shutdown(socket.SHUT_RDWR)
        for peer in self.peers:
            with contextlib.suppress(OSError):
                peer.sock.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(DEADLINE_S)
        self._listener.close()
        for peer in self.peers:
            peer.close()

    def _accept(self):
        while True:
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return
            self._threads.append(threading.Thread(target=self._serve, args=[sock], daemon=True))
            self._threads[-1].start()

    def _serve(self, sock):
        with contextlib.suppress(OSError):
            peer = Peer(sock, False, self._settings)
            self.peers.append(peer)
            while events := peer.receive():
                for event in events:
                    if isinstance(event, h2.events.RequestReceived):
                        self.requests.append(dict(event.headers))
                    elif isinstance(event, h2.events.StreamReset):
                        self.resets.append(event.error_code)
                    self._handle(peer, event)
                peer.flush()


def framed(message):
    """As gRPC does: not compressed, and how long it is."""
    return b"\0" + len(message).to_bytes(4, "big") + message


def respond(peer, stream, message=b"", status="0"):
    """A good answer with one message."""
    peer.http2.send_headers(stream, [(":status", "200"), ("content-type", "application/grpc")])
    peer.http2.send_data(stream, framed(message))
    peer.http2.send_headers(stream, [("grpc-status", status)], end_stream=True)


def good(peer, event):
    """Answers each request once it is complete."""
    if isinstance(event, h2.events.StreamEnded):
        respond(peer, event.stream_id, b"good")
