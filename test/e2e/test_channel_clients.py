"""Channel pools between other people's gRPC: grpc++ and @grpc/grpc-js on both sides, at the socket and with a lease."""

import pathlib
import subprocess

import pytest

from berthd import BERTH, BUILD
from processes import wait_until
from servers import need

grpc = pytest.importorskip("grpc")

from channels import error_of, socket_of  # noqa: E402
from test_channels import MIB, dial, pool, serve  # noqa: E402, F401
from test_programs import npm_install  # noqa: E402

GRPCXX = BUILD / "test/bin/grpc_peer"
GRPC_JS = pathlib.Path(__file__).with_name("programs") / "grpc_peer.js"
WAIT_S = 120  # for the whole of a story, of a program that is instrumented perhaps

ANSWERS = {
    "kinds": ["echo hello", "0", "length 6", "0", "count 0... 1... 2...", "0", "both x y z", "0"],
    "metadata": [f"head x-blob-bin {bytes(range(256)).hex()}", "head x-text plain",
                 f"tail x-blob-too-bin {bytes(range(256)).hex()}", "tail x-text-too plain"],
    "refused": ["no answer", "9 not so: 100 % über", "details 0809", "why 00ff"],
    "deadline": ["4"],
    "cancel": ["first", "1"],
    "leave": ["first", "1"],
    "large": ["the same", "0"],
    "many": ["100"],
}


@pytest.fixture(scope="session")
def grpc_js(tmp_path_factory):
    """The words that start grpc_peer.js."""
    node, _ = need("node", "npm")
    folder = tmp_path_factory.mktemp("grpc-js")
    failure = npm_install(folder, "@grpc/grpc-js")
    if failure:
        pytest.skip(f"npm cannot install @grpc/grpc-js here: {failure}")
    return ["env", f"MODULES={folder}", node, GRPC_JS]


@pytest.fixture
def command(request):
    """command(kind) is the words that start a peer of that kind."""
    return lambda kind: [GRPCXX] if kind == "grpc++" else request.getfixturevalue("grpc_js")


class Peers:
    """A server behind a daemon, and the words that start a client."""

    def __init__(self, daemon, server, client, target):
        self.server = server
        self._daemon = daemon
        self._client = client
        self._target = target

    def tell(self, story):
        """Has the client live through it."""
        done = subprocess.run([*self._client, "call", self._target, story], env=self._daemon.environment(), text=True,
                              capture_output=True, timeout=WAIT_S)
        assert (done.returncode, done.stderr) == (0, ""), done
        assert done.stdout.splitlines() == ANSWERS[story], story


PAIRS = [("grpc++", "python"), ("grpc-js", "python"), ("grpc++", "grpc++"), ("grpc-js", "grpc++"),
         ("grpc++", "grpc-js"), ("leased grpc++", "grpc++"), ("leased grpc++", "python")]


@pytest.fixture(params=PAIRS, ids=" to ".join)
def peers(request, berthd, serve, command):  # noqa: F811
    client, server = request.param
    started = serve(**({} if server == "python" else {"command": [*command(server), "serve"]}))
    daemon = berthd(pool(started))
    words = command(client.removeprefix("leased "))
    if client.startswith("leased "):
        return Peers(daemon, started, [BERTH, "exec", "up", "--", *words], "fd:3")
    return Peers(daemon, started, words, socket_of(daemon))


def test_calls_of_every_kind_metadata_and_errors_arrive(peers):
    for story in "kinds", "metadata", "refused", "many":
        peers.tell(story)


def test_deadlines_and_cancelled_calls_are_heard_by_the_server(peers):
    for number, story in enumerate(("deadline", "cancel"), 1):
        peers.tell(story)
        wait_until(lambda: peers.server.state("cancelled") == number, f"the server knows of {story}")


# A server of grpc-js has no way to cancel a call.
@pytest.mark.parametrize("peers", [pair for pair in PAIRS if pair[1] != "grpc-js"], ids=" to ".join, indirect=True)
def test_a_call_that_the_server_cancels_ends_as_such(peers):
    peers.tell("leave")


def test_a_message_of_64_mib_passes(peers):
    peers.tell("large")


@pytest.mark.parametrize("server", ["grpc++", "grpc-js"])
def test_a_client_of_python_calls_servers_of_other_libraries(berthd, serve, dial, command, server):  # noqa: F811
    started = serve(command=[*command(server), "serve"])
    client = dial(berthd(pool(started)))
    assert client.call("who").decode() == server
    assert client.up("length", [b"a", b"bc", b"", b"def"]) == b"6"
    assert list(client.down("count", b"3 4")) == [b"0...", b"1...", b"2..."]
    assert list(client.both("both", iter([b"x", b"y", b"z"]))) == [b"x", b"y", b"z"]
    text = b"0123456789abcdef" * (4 * MIB)
    assert client.call("echo", text, timeout=WAIT_S) == text
    error = error_of(client.start("refuse", b"\x08\x09"))
    assert (error.code(), error.details()) == (grpc.StatusCode.FAILED_PRECONDITION, "not so: 100 % über")
    assert {("why-bin", b"\0\xff"), ("grpc-status-details-bin", b"\x08\x09")} <= set(
        map(tuple, error.trailing_metadata()))
    assert error_of(client.start("hold", timeout=0.3)).code() == grpc.StatusCode.DEADLINE_EXCEEDED
    wait_until(lambda: started.state("cancelled") == 1, "the server knows")
