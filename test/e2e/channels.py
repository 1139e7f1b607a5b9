"""Both sides of a channel pool: gRPC servers in processes of their own, and clients of its socket."""

import json
import pathlib
import subprocess
import threading

import grpc
import pytest

from berthd import BUILD
from processes import DEADLINE_S, Program, free_port, try_connect, wait_until

PROGRAM = pathlib.Path(__file__).with_name("programs") / "grpc_upstream.py"
UNLIMITED = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]
# Of its own, not shared with others in this process; and it does not wait long before it dials again.
ALONE = [("grpc.use_local_subchannel_pool", 1), ("grpc.initial_reconnect_backoff_ms", 100),
         ("grpc.max_reconnect_backoff_ms", 200)]


class GrpcUpstream:
    """programs/grpc_upstream.py, whose options are those of gRPC, such as max_concurrent_streams; or another program
    with methods of the same names, given by the words before its port.

    clients an authority's file: whoever calls must show a certificate of it
    within  words of a command that starts it, nsenter's: it is in another network, and only berthd can ask it
    """

    def __init__(self, folder, name="up", port=None, tls=None, host="127.0.0.1", command=None, within=(),
                 clients=None, **options):
        self._folder = pathlib.Path(folder)
        self._folder.mkdir(exist_ok=True)
        self.port = port or free_port()
        self._tls, self._clients = tls, clients
        self.host = host
        self.address = f"{host}:{self.port}"
        self.url = f"{'grpcs' if tls else 'grpc'}://{self.address}"
        arguments = [] if command else [name, *(f"{key}={value}" for key, value in options.items())]
        self._within = list(within)
        self._command = [*within, *(command or ["/usr/bin/python3", PROGRAM]), self.port, *arguments]
        self._running = None
        self._direct = None
        self.start()

    def start(self):
        keys = {"CERTIFICATE": str(self._tls.file), "KEY": str(self._tls.key)} if self._tls else {}
        keys |= {"CLIENTS": str(self._clients)} if self._clients else {}
        self._running = Program(self._folder, *self._command, environment={"HOST": self.host, **keys})
        self._running.ready(self._is_there)

    def _is_there(self):
        if not self._within:
            return try_connect(self.port, self.host)
        probe = f"import socket; socket.create_connection(({self.host!r}, {self.port}))"
        return subprocess.run([*self._within, "/usr/bin/python3", "-c", probe], capture_output=True).returncode == 0

    def state(self, name):
        """What it has counted, asked past berthd; only without TLS."""
        with Client(self.address) as direct:
            return json.loads(direct.call("state")).get(name, 0)

    def set_free(self):
        with Client(self.address) as direct:
            direct.call("set_free")

    def signal(self, number):
        self._running.signal(number)

    def wait(self):
        return self._running.wait()

    def kill(self):
        """Returns once its sockets are gone."""
        self._running.kill()


class Client:
    """A gRPC client with a connection of its own."""

    def __init__(self, target, *options):
        self._channel = grpc.insecure_channel(target, [*ALONE, *UNLIMITED, *options])

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        self._channel.close()

    def start(self, method, request=b"", timeout=DEADLINE_S, **options):
        """A unary call that is under way."""
        return self._channel.unary_unary(f"/up/{method}").future(request, timeout=timeout, **options)

    def call(self, method, request=b"", **options):
        return self.start(method, request, **options).result()

    def up(self, method, requests, timeout=DEADLINE_S):
        return self._channel.stream_unary(f"/up/{method}")(iter(requests), timeout=timeout)

    def down(self, method, request, timeout=DEADLINE_S):
        return self._channel.unary_stream(f"/up/{method}")(request, timeout=timeout)

    def both(self, method, requests, timeout=DEADLINE_S):
        return self._channel.stream_stream(f"/up/{method}")(requests, timeout=timeout)


def socket_of(daemon, key="up"):
    return f"unix:{daemon.folder}/sockets/{key}.sock"


def error_of(call):
    """The error of a call that fails; `call` is one under way, or a function."""
    with pytest.raises(grpc.RpcError) as error:
        call.result() if hasattr(call, "result") else call()
    return error.value


class Load:
    """Threads that call `who` again and again, each on a connection of its own, until the end of the block."""

    def __init__(self, target, threads=4):
        self.answers, self.errors = [], []
        self._target = target
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._work) for _ in range(threads)]

    def __enter__(self):
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self._stop.set()
        for thread in self._threads:
            thread.join(30)

    def go_on(self, count=50):
        before = len(self.answers)
        wait_until(lambda: len(self.answers) > before + count, f"calls go on; {self.errors[:3]}")

    def _work(self):
        with Client(self._target) as client:
            while not self._stop.is_set():
                try:
                    self.answers.append(client.call("who").decode())
                except grpc.RpcError as error:
                    self.errors.append(f"{error.code().name}: {error.details()}")


class Gate:
    """Requests of a stream: one after another, when they are given."""

    def __init__(self):
        self._given = []
        self._changed = threading.Condition()
        self._over = False

    def give(self, *requests):
        with self._changed:
            self._given += requests
            self._changed.notify()

    def end(self):
        with self._changed:
            self._over = True
            self._changed.notify()

    def __iter__(self):
        return self

    def __next__(self):
        with self._changed:
            self._changed.wait_for(lambda: self._given or self._over)
            if self._given:
                return self._given.pop(0)
        raise StopIteration


# ASan keeps what was freed for a while.
MEMORY_TELLS = "address" not in BUILD.name


def memory_of(pid):
    """Resident bytes, now."""
    pages = int(pathlib.Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * 4096
