"""berthd as a user starts it, and two ways to talk to it: the Python client, and bare frames."""

import array
import contextlib
import errno
import json
import os
import pathlib
import re
import shutil
import signal
import socket
import subprocess
import sys

import berth
from berth import _frames as frames
from processes import DEADLINE_S, Program, wait_until
from servers import need

TOP = pathlib.Path(__file__).resolve().parents[2]
BUILD = pathlib.Path(os.environ.get("BERTH_BUILD", TOP / "build"))
BERTHD = BUILD / "bin/berthd"
BERTH = BUILD / "bin/berth"
_SANITIZER = re.compile(r"Sanitizer|runtime error:|check failed", re.IGNORECASE)


class Berthd:
    """A running berthd --user, or with user=False one that allows only whom its pools name.

    pools     {"name": {"setting": value}}
    fd_limit  its RLIMIT_NOFILE
    within    words of a command that starts it, such as setpriv
    uid       an unprivileged user whose process and folder it is; only root may ask for that
    passed    {"name": socket}: listening sockets that it gets as from systemd
    sockets   {"name": {"setting": value}}, of tenants
    dynamic   {"setting": value}
    """

    def __init__(self, folder, pools, fd_limit=None, user=True, environment=None, within=(), uid=None, passed=None,
                 **settings):
        self.folder = pathlib.Path(folder)
        program = BERTHD
        if uid is not None:
            program = shutil.copy(BERTHD, self.folder)  # who may not read this tree can run it there
            os.chown(self.folder, uid, uid)
            within = [*need("setpriv"), f"--reuid={uid}", f"--regid={uid}", "--clear-groups", *within]
        self.path = str(self.folder / "lease.sock")
        self.config = self.folder / "berthd.toml"
        self.config.write_text(self._text(pools, settings))
        limit = ["prlimit", f"--nofile={fd_limit}"] if fd_limit else []
        self._command = [*within, *limit, program, *(["--user"] if user else []), "--runtime-dir", folder,
                         "--config", self.config]
        self._environment = environment
        self._doors = 1 + len(settings.get("sockets", {}))
        self._passed = passed or {}
        if passed:
            self._command = passing(passed, self._command)
        if "lease" in self._passed:
            self.path = passed["lease"].getsockname()
        self._sessions = []
        self._starts = 0
        self.start()

    def start(self):
        self._program = Program(self.folder, *self._command, environment=self._environment,
                                fds=[sock.fileno() for sock in self._passed.values()])
        self.pid = self._program.pid
        self._starts += 1
        self._program.ready(lambda: self.log().count("ready:") == self._starts)
        try:
            with Raw(self.path):
                pass
            wait_until(self.has_no_sessions, "the first session has ended")
        except BaseException:
            self.kill()
            raise
        self.fds_at_start = len(self.fds())

    @staticmethod
    def _text(pools, settings):
        daemon = {"drain_timeout": "1s", **settings}
        dynamic = daemon.pop("dynamic", None)
        sockets = {f'socket."{name}"': values for name, values in daemon.pop("sockets", {}).items()}
        return toml({"daemon": daemon, **({"dynamic": dynamic} if dynamic else {}), **sockets}, pools)

    def reload(self, pools, **settings):
        """Has it take over another configuration, given as at its start."""
        self.hang_up(self._text(pools, settings), "reloaded:")

    def hang_up(self, text, outcome):
        """Has it read another configuration; waits until the log tells of the outcome."""
        told = self.log().count(outcome)
        self.config.write_text(text)
        self.signal(signal.SIGHUP)
        wait_until(lambda: self.log().count(outcome) > told, f"the log says {outcome!r}")

    # --- its clients ---

    def session(self, **options):
        return self._mine(berth.Session(self.path, **options))

    def raw(self, hello=True):
        return self._mine(Raw(self.path, hello))

    def _mine(self, session):
        self._sessions.append(session)
        return session

    def environment(self):
        """For `berth` and its like."""
        return {**os.environ, "BERTH_SOCKET": self.path}

    def berth(self, *words, **options):
        """Runs the `berth` command to its end."""
        return subprocess.run([BERTH, *words], env=self.environment(), timeout=DEADLINE_S, text=True,
                              capture_output=True, **options)

    # --- what it looks like from outside ---

    def log(self):
        return self._program.err.read_text(errors="replace")

    def fds(self):
        """Number -> what it is."""
        found = {}
        for entry in os.scandir(f"/proc/{self.pid}/fd"):
            with contextlib.suppress(FileNotFoundError):
                found[int(entry.name)] = os.readlink(entry.path)
        return found

    def connections_to(self, port):
        """How many TCP connections to a loopback port it has."""
        return len(self._tcp_rows(port))

    def unread_from(self, port):
        """How many bytes wait in them."""
        return sum(int(row[4].split(":")[1], 16) for row in self._tcp_rows(port))

    def _tcp_rows(self, port):
        inodes = self._socket_inodes()
        rows = [row.split() for row in pathlib.Path(f"/proc/{self.pid}/net/tcp").read_text().splitlines()[1:]]
        return [row for row in rows if row[9] in inodes and row[2].endswith(f":{port:04X}")]

    def _socket_inodes(self):
        return {target[8:-1] for target in self.fds().values() if target.startswith("socket:[")}

    def has_no_sessions(self):
        return not any("pidfd" in target for target in self.fds().values()) and \
            self._unix_sockets() == self._doors

    def _unix_sockets(self):
        """Its SEQPACKET sockets: the listening ones and a socket for each session."""
        inodes = self._socket_inodes()
        rows = [row.split() for row in pathlib.Path(f"/proc/{self.pid}/net/unix").read_text().splitlines()[1:]]
        return sum(row[4] == "0005" and row[6] in inodes for row in rows)

    def wake_ups(self):
        """How often its loop has slept."""
        status = pathlib.Path(f"/proc/{self.pid}/task/{self.pid}/status").read_text()
        return int(re.search(r"^voluntary_ctxt_switches:\s*(\d+)", status, re.MULTILINE)[1])

    @contextlib.contextmanager
    def stopped(self):
        """Meanwhile nothing is handled: what happens comes all at once afterwards."""
        self.signal(signal.SIGSTOP)
        stat = pathlib.Path(f"/proc/{self.pid}/stat")
        wait_until(lambda: stat.read_text().rpartition(")")[2].split()[0] == "T", "berthd stops")
        try:
            yield
        finally:
            self.signal(signal.SIGCONT)

    # --- its end ---

    def signal(self, number):
        self._program.signal(number)

    def runs(self):
        return self._program.status() is None

    def wait(self, seconds=DEADLINE_S):
        status = self._program.wait(seconds)
        assert not _SANITIZER.search(self.log()), self.log()
        return status

    def kill(self):
        self._program.kill()

    def stop(self):
        """Asserts the good end that every story has: nothing held, 0, and no complaint."""
        try:
            for session in self._sessions:
                session.close()
            if self.runs():
                wait_until(self.has_no_sessions, "all sessions are over")
                self.signal(signal.SIGTERM)
                assert self.wait() == 0, self.log()
                assert os.path.exists(self.path) == ("lease" in self._passed)
            assert not _SANITIZER.search(self.log()), self.log()
        finally:
            self.kill()


_PASSING = """
import fcntl, os, sys
names, numbers, *command = sys.argv[1:]
high = [fcntl.fcntl(int(number), fcntl.F_DUPFD_CLOEXEC, 100) for number in numbers.split(",")]
for number, fd in enumerate(high, 3):
    os.dup2(fd, number)
os.closerange(3 + len(high), 100)
os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS=str(len(high)), LISTEN_FDNAMES=names)
os.execvp(command[0], command)
"""


def passing(passed, command):
    """A command that passes {"name": anything with a descriptor, which it inherits} on, as systemd does."""
    numbers = ",".join(str(each.fileno()) for each in passed.values())
    return [sys.executable, "-c", _PASSING, ":".join(passed), numbers, *command]


class Raw:
    """A session without a library: one can send anything, and see every frame."""

    def __init__(self, path, hello=True):
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.sock.settimeout(DEADLINE_S)
        self.sock.connect(path)
        self.fds = []  # of the grants, in their order
        self._requests = 0
        if hello:
            self.send(frames.Hello(frames.VERSION, "raw"))
            self.welcome = self.expect(frames.Welcome)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        self.sock.close()
        while self.fds:
            os.close(self.fds.pop())

    def send(self, frame, fds=()):
        self.send_bytes(frames.encode_client(frame), fds)

    def send_bytes(self, data, fds=()):
        rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))] if fds else []
        self.sock.sendmsg([data], rights)

    def receive(self):
        """The next frame; None at the end of the session."""
        try:
            data, rights, _, _ = self.sock.recvmsg(frames.MAX_FRAME_BYTES, socket.CMSG_SPACE(4 * 64))
        except ConnectionResetError:  # told once, before what was said
            return self.receive()
        for _, _, content in rights:
            self.fds += array.array("i", content)
        return frames.decode_server(data) if data else None

    def expect(self, kind):
        frame = self.receive()
        assert isinstance(frame, kind), f"{frame} instead of {kind.__name__}"
        return frame

    def request(self, key, count=1, timeout_ms=None):
        self._requests += 1
        self.send(frames.LeaseRequest(self._requests, key, count, timeout_ms))
        return self._requests

    def lease(self, key, **options):
        """A lease's id and socket."""
        self.request(key, **options)
        grant = self.expect(frames.Grant)
        return grant.leases[0].lease_id, socket.socket(fileno=self.fds.pop())

    def release(self, lease_id, outcome=frames.Outcome.REUSE):
        self._requests += 1
        self.send(frames.Release(lease_id, outcome, self._requests))
        return self.expect(frames.Released)

    def sync(self):
        """Returns once berthd has handled what was sent before."""
        self._requests += 1
        self.send(frames.ListKeys(self._requests))
        return self.expect(frames.KeyList)


def settle(session):
    """Returns once berthd has handled what this session has sent: a release has no answer."""
    session.keys()


def toml(*documents):
    lines = []
    for table, settings in documents[0].items():
        lines += [f"[{table}]", *_settings(settings)]
    for name, settings in (documents[1] if len(documents) > 1 else {}).items():
        lines += [f'[pool."{name}"]', *_settings(settings)]
    return "\n".join(lines) + "\n"


def _settings(settings):
    return [f"{name} = {_value(value)}" for name, value in settings.items()]


def _value(value):
    if isinstance(value, dict):
        return "{" + ", ".join(_settings(value)) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_value, value)) + "]"
    return json.dumps(value)


def is_denied(error):
    return error.errno in (errno.EACCES, errno.EPERM)
