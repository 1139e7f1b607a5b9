"""A server for stories that need one which can be told how to behave: real sockets, one thread."""

import contextlib
import os
import selectors
import socket
import threading


class Upstream:
    """Answers each line with the number of its connection and the line: b"hello" -> b"3 hello".

    Connections are numbered from 1, in the order of their arrival. `greeting` is sent to each.
    """

    def __init__(self, path=None, greeting=b""):
        self._greeting = greeting
        self._connections = {}
        self._unread = {}
        self.accepted = 0
        self._listener = _listen(path)
        self._selector = selectors.DefaultSelector()
        self._bell, self._stop = socket.socketpair()
        self._selector.register(self._bell, selectors.EVENT_READ)
        self._selector.register(self._listener, selectors.EVENT_READ)
        self.port = None if path else self._listener.getsockname()[1]
        self.url = f"unix://{path}" if path else f"tcp://127.0.0.1:{self.port}"
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    @property
    def open(self):
        """The numbers of the connections that nobody has closed."""
        return sorted(self._connections)

    def send(self, number, data):
        self._connections[number].sendall(data)

    def hang_up(self, number):
        self._connections[number].shutdown(socket.SHUT_WR)

    def close(self):
        self._stop.close()
        self._thread.join()
        for sock in [self._bell, self._listener, *self._connections.values()]:
            sock.close()
        self._selector.close()

    def _serve(self):
        while True:
            for key, _ in self._selector.select():
                if key.fileobj is self._bell:
                    return
                if key.fileobj is self._listener:
                    self._accept()
                else:
                    self._answer(key.fileobj, key.data)

    def _accept(self):
        sock, _ = self._listener.accept()
        self._connections[self.accepted + 1] = sock
        self.accepted += 1
        self._selector.register(sock, selectors.EVENT_READ, self.accepted)
        if self._greeting:
            sock.sendall(self._greeting)

    def _answer(self, sock, number):
        try:
            data = sock.recv(65536)
            *lines, rest = (self._unread.pop(number, b"") + data).split(b"\n")
            self._unread[number] = rest
            if data:
                return sock.sendall(b"".join(b"%d %s\n" % (number, line) for line in lines))
        except OSError:
            pass
        self._selector.unregister(sock)
        self._connections.pop(number).close()


class Script:
    """A server that says to each connection what it is told to, whatever it is asked.

    Answers each request whose head it has read with the next of `answers`, bytes; None hangs up.
    """

    def __init__(self, *answers):
        self._answers = list(answers)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"tcp://127.0.0.1:{self._listener.getsockname()[1]}"
        self.accepted = 0
        self.open = []
        self.asked = b""
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def close(self):
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for sock in self.open:
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
            sock.close()

    def _serve(self):
        with contextlib.suppress(OSError):
            while True:
                sock, _ = self._listener.accept()
                self.accepted += 1
                self.open.append(sock)
                threading.Thread(target=self._talk, args=(sock,), daemon=True).start()

    def _talk(self, sock):
        unread = b""
        with contextlib.suppress(OSError):
            while data := sock.recv(65536):
                unread += data
                self.asked += data
                while b"\r\n\r\n" in unread:
                    unread = unread.partition(b"\r\n\r\n")[2]
                    if self._answers:
                        answer = self._answers.pop(0)
                        sock.sendall(answer) if answer is not None else sock.shutdown(socket.SHUT_WR)


class Deaf:
    """A listening socket whose backlog is full: the kernel answers no further SYN."""

    def __init__(self, host="127.0.0.1", port=0):
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self._listener = socket.create_server((host, port), family=family, backlog=0)
        self.port = self._listener.getsockname()[1]
        self.url = f"tcp://127.0.0.1:{self.port}"
        self._fillers = [socket.socket(family) for _ in range(4)]
        for sock in self._fillers:
            sock.setblocking(False)
            sock.connect_ex((host, self.port))

    def close(self):
        for sock in [self._listener, *self._fillers]:
            sock.close()


class Mute:
    """Accepts, and never reads or writes."""

    def __init__(self):
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.port = self._listener.getsockname()[1]
        self.url = f"tcp://127.0.0.1:{self.port}"

    def close(self):
        self._listener.close()


def _listen(path):
    if path is None:
        return socket.create_server(("127.0.0.1", 0), backlog=1024)
    sock = socket.socket(socket.AF_UNIX)
    sock.bind(path)
    os.chmod(path, 0o777)
    sock.listen(1024)
    return sock


def ask(sock, text=b"hello"):
    """Asks an Upstream and says on which of its connections the answer came."""
    sock.sendall(text + b"\n")
    number, _, echo = read_line(sock).partition(b" ")
    assert echo == text
    return int(number)


def read_line(sock):
    """One line, without its end, and not a byte more: the next holder must find none."""
    line = b""
    while not line.endswith(b"\n"):
        byte = sock.recv(1)
        assert byte, f"the connection ended after {line!r}"
        line += byte
    return line[:-1].rstrip(b"\r")
