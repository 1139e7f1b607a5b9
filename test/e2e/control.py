"""The control socket as berthctl and as any gRPC client use it."""

import json
import pathlib
import subprocess
import tempfile

import grpc
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

from berthd import BUILD, TOP
from processes import DEADLINE_S, NOBODY

BERTHCTL = BUILD / "bin/berthctl"
PROTOS = ["berth/v1/admin.proto", "berth/v1/leases.proto"]


def control(daemon):
    return str(daemon.folder / "control.sock")


def run(*words, **options):
    return subprocess.run([BERTHCTL, *words], timeout=DEADLINE_S, text=True, capture_output=True, **options)


def ctl(daemon, *words, **options):
    return run("--socket", control(daemon), *words, **options)


def as_nobody(daemon, *words):
    """berthctl, run by another user, who can read little of this tree: by its descriptor."""
    with open(BERTHCTL, "rb") as program:
        return subprocess.run([f"/proc/self/fd/{program.fileno()}", "--socket", control(daemon), *words],
                              pass_fds=[program.fileno()], user=NOBODY, group=NOBODY, extra_groups=[], cwd="/",
                              timeout=DEADLINE_S, text=True, capture_output=True)


def rows(daemon, listing, *words):
    """The listing as JSON."""
    done = ctl(daemon, listing, "--json", *words)
    assert (done.returncode, done.stderr) == (0, "")
    return json.loads(done.stdout)[listing]


def status(daemon):
    done = ctl(daemon, "status", "--json")
    assert (done.returncode, done.stderr) == (0, "")
    return json.loads(done.stdout)


def load_messages():
    """messages("StatusReply") is that class of berth.v1."""
    with tempfile.TemporaryDirectory(prefix="berth-e2e-") as folder:
        path = pathlib.Path(folder) / "protos.pb"
        subprocess.run(["protoc", f"-I{TOP}/proto", "--include_imports", f"--descriptor_set_out={path}", *PROTOS],
                       check=True)
        files = descriptor_pb2.FileDescriptorSet.FromString(path.read_bytes()).file
    known = descriptor_pool.DescriptorPool()
    for file in files:
        known.Add(file)
    factory = message_factory.MessageFactory(known)
    return lambda name: factory.GetPrototype(known.FindMessageTypeByName(f"berth.v1.{name}"))


class Channel:
    """A connection to a control socket."""

    def __init__(self, daemon, messages):
        # A channel of its own: those of one target share a connection otherwise.
        self._channel = grpc.insecure_channel(f"unix:{control(daemon)}", [("grpc.use_local_subchannel_pool", 1)])
        self._messages = messages

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        self._channel.close()

    def method(self, service, name, reply):
        """Of a message; without `reply`, of bytes to bytes."""
        return self._channel.unary_unary(f"/berth.v1.{service}/{name}", type(self)._bytes,
                                         reply and self._messages(reply).FromString)

    def stream(self, method, request):
        """The answers to one message of a stream, in bytes."""
        return self._channel.stream_stream(method)(iter([request]), timeout=DEADLINE_S)

    def events(self, **request):
        """The stream of WatchEvents."""
        watch = self._channel.unary_stream("/berth.v1.Admin/WatchEvents", type(self)._bytes,
                                           self._messages("Event").FromString)
        return watch(self._messages("WatchRequest")(**request))

    @staticmethod
    def _bytes(request):
        return request if isinstance(request, bytes) else request.SerializeToString()


class Leases(Channel):
    """berth.v1.Leases for a bare session (Raw), or with a token that is given."""

    def __init__(self, daemon, messages, session=None, token=None):
        super().__init__(daemon, messages)
        self.session = session
        token = session.welcome.token.hex() if token is None else token
        self.metadata = [("berth-session", token)] if token else []

    def start(self, request_id, key="echo", count=1, timeout_ms=None, detach=False, deadline_s=DEADLINE_S):
        """A call of Lease that is under way."""
        request = self._messages("LeaseRequest")(request_id=request_id, key=key, count=count, timeout_ms=timeout_ms,
                                                 detach=detach)
        return self.method("Leases", "Lease", "Grant").future(request, timeout=deadline_s, metadata=self.metadata)

    def lease(self, request_id, key="echo", **options):
        return self.start(request_id, key, **options).result()

    def release(self, lease_id, outcome=1, request_id=0):
        request = self._messages("Release")(lease_id=lease_id, outcome=outcome, request_id=request_id)
        return self._call("Release", request, "Released")

    def keys(self, after=""):
        return self._call("ListKeys", self._messages("ListKeys")(after=after), "KeyList")

    def raw(self, method, data):
        return self.method("Leases", method, None)(data, timeout=DEADLINE_S, metadata=self.metadata)

    def _call(self, method, request, reply):
        return self.method("Leases", method, reply)(request, timeout=DEADLINE_S, metadata=self.metadata)

    def refusal(self, error):
        """The Refusal among the details of a failed call's status."""
        [data] = [value for name, value in error.trailing_metadata() if name == "grpc-status-details-bin"]
        details = self._messages("StatusDetails").FromString(data)
        assert (details.code, details.message) == (error.code().value[0], error.details())
        [detail] = details.details
        assert detail.type_url == "type.googleapis.com/berth.v1.Refusal"
        return self._messages("Refusal").FromString(detail.value)
