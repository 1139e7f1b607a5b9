"""A server that speaks TLS 1.2 by OpenSSL, echoes, and does as a story says."""

import contextlib
import queue
import socket
import ssl
import threading

# How its suites are called; all with an elliptic curve's key.
CIPHERS = {
    "AES-128-GCM": "ECDHE-ECDSA-AES128-GCM-SHA256",
    "AES-256-GCM": "ECDHE-ECDSA-AES256-GCM-SHA384",
    "ChaCha20-Poly1305": "ECDHE-ECDSA-CHACHA20-POLY1305",
}
_LOOK_S = 0.02  # how often a connection looks for orders


class TlsServer:
    """`connections` are all that it accepted, in their order."""

    def __init__(self, certificate, suites=":".join(CIPHERS.values()), greeting=b"", reads=True):
        self.connections = []
        self.greeting = greeting
        self.reads = reads  # whether new connections echo at once
        self._files = certificate.file, certificate.key
        self._suites = suites
        self.port = 0
        self.start()

    def start(self):
        """With new keys for its tickets."""
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.maximum_version = ssl.TLSVersion.TLSv1_2
        self.context.options &= ~ssl.OP_IGNORE_UNEXPECTED_EOF  # which takes a cut for a close_notify
        self.context.set_ciphers(self._suites)
        self.context.load_cert_chain(*self._files)
        self._listener = socket.create_server(("127.0.0.1", self.port), backlog=64)
        self.port = self._listener.getsockname()[1]
        self.url = f"tls://127.0.0.1:{self.port}"
        self._running = threading.Thread(target=self._accept, args=[self._listener], daemon=True)
        self._running.start()

    def stop(self):
        """Without a word to its connections."""
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._running.join()
        self._listener.close()
        for connection in self.connections:
            connection.order(connection.leave)
            connection.join()

    def _accept(self, listener):
        while True:
            try:
                sock, _ = listener.accept()
            except OSError:
                return
            self.connections.append(_Connection(self, sock))


class _Connection(threading.Thread):
    """cipher, resumed  what was agreed on
    ended   None, or how the client has ended it: "close_notify", or an error's name
    """

    def __init__(self, server, sock):
        super().__init__(daemon=True)
        self.cipher = self.resumed = self.ended = None
        self.reads = server.reads
        self._server = server
        self._sock = sock
        self._orders = queue.Queue()
        self._left = False
        self.start()

    def order(self, what, *arguments):
        """Has it do that, on its own thread."""
        self._orders.put((what, arguments))

    # --- orders ---

    def say(self, data):
        self._sock.settimeout(60)
        self._sock.sendall(data)

    def say_close_notify(self):
        self._sock.settimeout(_LOOK_S)
        with contextlib.suppress(OSError):
            self._sock.unwrap()  # waits for the client's, too

    def say_garbage(self):
        """A record that nobody can decrypt."""
        with socket.socket(fileno=socket.dup(self._sock.fileno())) as raw:
            raw.sendall(b"\x17\x03\x03\x00\x20" + bytes(32))

    def echo(self):
        self.reads = True

    def leave(self):
        self._left = True

    # --- its life ---

    def run(self):
        with contextlib.suppress(OSError):
            self._sock = self._server.context.wrap_socket(self._sock, server_side=True, suppress_ragged_eofs=False)
            self.cipher, self.resumed = self._sock.cipher()[0], self._sock.session_reused
            if self._server.greeting:
                self._sock.sendall(self._server.greeting)
            while not self._left and self.ended is None:
                self._turn()
        self._sock.close()

    def _turn(self):
        with contextlib.suppress(queue.Empty):
            what, arguments = self._orders.get(timeout=0 if self.reads else _LOOK_S)
            what(*arguments)
        if not self.reads or self._left:
            return
        self._sock.settimeout(_LOOK_S)
        try:
            data = self._sock.recv(65536)
        except TimeoutError:
            return
        except OSError as error:  # of TLS: UNEXPECTED_EOF_WHILE_READING, say
            self.ended = getattr(error, "reason", None) or type(error).__name__
            return
        if not data:
            self.ended = "close_notify"
            return
        self.say(data)
