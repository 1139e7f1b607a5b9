"""Processes, ports and conditions: what the stories need of the machine."""

import contextlib
import ctypes
import gc
import multiprocessing
import os
import pathlib
import select
import signal
import socket
import subprocess
import time
import traceback

DEADLINE_S = 20  # for whatever should happen soon; only a failing test waits so long
NOBODY = 65534
_CLONE_NEWNS = 0x00020000
_CLONE_NEWUSER = 0x10000000
_CLONE_NEWPID = 0x20000000
_CLONE_NEWNET = 0x40000000
_MS_REC, _MS_BIND, _MS_PRIVATE = 0x4000, 0x1000, 1 << 18


def wait_until(condition, what, seconds=DEADLINE_S):
    """The first true value of condition()."""
    deadline = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {seconds} s: {what}")
        time.sleep(0.002)


def wait_readable(sock, seconds=DEADLINE_S):
    poll = select.poll()
    poll.register(sock, select.POLLIN)
    return bool(poll.poll(seconds * 1000))


def free_port():
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def try_connect(port, host="127.0.0.1"):
    with socket.socket() as probe:
        return probe.connect_ex((host, port)) == 0


class Program:
    """A running program; what it prints goes to files in `folder`."""

    def __init__(self, folder, *command, environment=None, fds=()):
        folder = pathlib.Path(folder)
        name = pathlib.Path(command[0]).name
        self.out, self.err = folder / f"{name}.out", folder / f"{name}.err"
        with open(self.out, "ab") as out, open(self.err, "ab") as err:
            self._process = subprocess.Popen(
                [str(word) for word in command], stdin=subprocess.DEVNULL, stdout=out, stderr=err,
                cwd=folder, env={**os.environ, **(environment or {})}, pass_fds=fds)
        self.pid = self._process.pid

    def output(self):
        return self.out.read_text(errors="replace") + self.err.read_text(errors="replace")

    def status(self):
        """None while it runs."""
        return self._process.poll()

    def signal(self, number):
        self._process.send_signal(number)

    def wait(self, seconds=DEADLINE_S):
        return self._process.wait(seconds)

    def ready(self, condition):
        """Waits for it, but not for a program that has ended."""
        def asked():
            assert self.status() is None, f"it ended with {self.status()}:\n{self.output()}"
            return condition()
        try:
            wait_until(asked, f"{self._process.args[0]} is ready")
        except BaseException:
            self.kill()
            raise
        return self

    def kill(self):
        if self.status() is None:
            self._process.kill()
        self.wait()


class _Failed:
    def __init__(self, text):
        self.text = text


class _Returned:
    def __init__(self, value):
        self.value = value


class Parent:
    """The test, as a child sees it."""

    def __init__(self, pipe):
        self._pipe = pipe

    def say(self, value):
        self._pipe.send(value)

    def hear(self):
        return self._pipe.recv()

    def fileno(self):
        return self._pipe.fileno()

    def waits_for_me(self):
        """False once the test has something to say."""
        return not self._pipe.poll()


class Child:
    """A forked process that runs function(parent, *arguments), as user `uid` if one is given, with no supplementary
    groups but `groups`."""

    def __init__(self, function, *arguments, uid=None, groups=(), no_network=False):
        self._pipe, there = multiprocessing.Pipe()
        self._status = None
        self.pid = os.fork()
        if self.pid == 0:
            _live(there, function, arguments, uid, groups, no_network)
        there.close()

    def hear(self, seconds=DEADLINE_S):
        """What the child says next."""
        assert self._pipe.poll(seconds), f"child {self.pid} says nothing for {seconds} s"
        value = self._pipe.recv()
        if isinstance(value, _Failed):
            raise AssertionError(f"in child {self.pid}:\n{value.text}")
        return value

    def says_nothing(self):
        return not self._pipe.poll()

    def tell(self, value=None):
        self._pipe.send(value)

    def result(self, seconds=DEADLINE_S):
        """What its function returns."""
        value = self.hear(seconds)
        assert isinstance(value, _Returned), f"child {self.pid} said {value!r} instead of returning"
        assert self.wait() == 0
        return value.value

    def kill(self):
        """As kill -9; returns once it is dead."""
        if self._status is None:
            os.kill(self.pid, signal.SIGKILL)
            self.wait()

    def wait(self):
        if self._status is None:
            wait_until(self._reap, f"the end of child {self.pid}")
        return self._status

    def _reap(self):
        pid, status = os.waitpid(self.pid, os.WNOHANG)
        if pid != 0:
            self._status = status
        return pid != 0


def _live(pipe, function, arguments, uid, groups, no_network):
    """The child's whole life: never returns, so that nothing of the test's is undone twice."""
    try:
        gc.disable()
        close_all_but(pipe.fileno())
        if no_network:
            leave_network()
        if uid is not None:
            become(uid, groups)
        pipe.send(_Returned(function(Parent(pipe), *arguments)))
        os._exit(0)
    except BaseException:
        pipe.send(_Failed(traceback.format_exc()))
    finally:
        os._exit(1)


def close_all_but(*kept):
    last = 2
    for fd in sorted(kept):
        os.closerange(last + 1, fd)
        last = fd
    os.closerange(last + 1, 1 << 16)


def become(uid, groups=()):
    if uid != os.getuid():
        os.setgroups(groups)
        os.setgid(uid)
        os.setuid(uid)


def leave_network():
    """Into a network namespace of its own, where not even loopback is up."""
    _call("unshare", _CLONE_NEWNET if os.getuid() == 0 else _CLONE_NEWNET | _CLONE_NEWUSER)


@contextlib.contextmanager
def a_pid_namespace():
    """The first child that is born meanwhile is process 1 of a new one. Needs root."""
    home = os.open("/proc/self/ns/pid", os.O_RDONLY | os.O_CLOEXEC)
    try:
        _call("unshare", _CLONE_NEWPID)
        yield
    finally:
        _call("setns", home, _CLONE_NEWPID)
        os.close(home)


@contextlib.contextmanager
def a_host():
    """This thread, and what it starts, is meanwhile on a host where only loopback is up, no port is in use and /run is
    empty. Needs root."""
    kinds = {"net": _CLONE_NEWNET, "mnt": _CLONE_NEWNS}
    home = {kind: os.open(f"/proc/thread-self/ns/{kind}", os.O_RDONLY | os.O_CLOEXEC) for kind in kinds}
    try:
        _call("unshare", _CLONE_NEWNET | _CLONE_NEWNS)
        _call("mount", b"none", b"/", None, _MS_REC | _MS_PRIVATE, None)
        _call("mount", b"tmpfs", b"/run", b"tmpfs", 0, b"mode=755")
        subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
        yield
    finally:
        for kind, fd in home.items():
            _call("setns", fd, kinds[kind])
            os.close(fd)


def mount_over(folder, place):
    """On a host of one's own: what is in `folder` is at `place`."""
    _call("mount", os.fsencode(folder), os.fsencode(place), None, _MS_BIND, None)


def _call(name, *arguments):
    """A function of libc's that Python 3.11 has not."""
    libc = ctypes.CDLL(None, use_errno=True)
    if getattr(libc, name)(*arguments) != 0:
        raise OSError(ctypes.get_errno(), name)


def disconnect(sock):
    """connect(2) to AF_UNSPEC, which socket.connect() cannot say."""
    _call("connect", sock.fileno(), bytes(16), 16)
