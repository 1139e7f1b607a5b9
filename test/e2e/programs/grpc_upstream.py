"""A gRPC server on 127.0.0.1 for the stories of channel pools: grpc_upstream.py PORT NAME [OPTION=NUMBER...]

Methods take and give bytes; what they are called says how many of them. In the environment: HOST, an address other
than 127.0.0.1; CERTIFICATE and KEY for TLS, and CLIENTS, whose authority it wants from clients then.
SIGTERM ends it as a server should: GOAWAY, and what is under way goes on to its end.
"""

import collections
import contextlib
import json
import os
import pathlib
import signal
import sys
import threading
from concurrent import futures

import grpc

PORT, NAME, *OPTIONS = sys.argv[1:]
ADDRESS = f"{os.environ.get('HOST', '127.0.0.1')}:{PORT}"
changes = threading.Condition()
counts = collections.Counter()
peers = set()
free = False


def add(name, number=1):
    with changes:
        counts[name] += number
        counts["most"] = max(counts["most"], counts["now"])


def echo(request, context):
    """With the metadata that begin with x-, before and after."""
    mine = [(name, value) for name, value in context.invocation_metadata() if name.startswith("x-")]
    context.send_initial_metadata(mine)
    context.set_trailing_metadata([(f"{name.removesuffix('-bin')}-too{'-bin' * name.endswith('-bin')}", value)
                                   for name, value in mine])
    return request


def who(request, context):
    return NAME.encode()


def length(requests, context):
    return str(sum(map(len, requests))).encode()


def count(request, context):
    """As many as the request says, of so many bytes."""
    for number in range(int(request.split()[0])):
        yield (b"%d" % number).ljust(int(request.split()[1]), b".")


def both(requests, context):
    yield from requests


def fail(request, context):
    details = json.loads(request)
    context.set_trailing_metadata((("why-bin", b"\0\xff"), ("x-told", "once")))
    context.abort(getattr(grpc.StatusCode, details["code"]), details["text"])


def fail_late(request, context):
    yield b"first"
    fail(request, context)


def refuse(request, context):
    """With these details of the status."""
    context.set_trailing_metadata((("why-bin", b"\0\xff"), ("grpc-status-details-bin", request)))
    context.abort(grpc.StatusCode.FAILED_PRECONDITION, "not so: 100 % über")


def leave(request, context):
    """Cancels the call."""
    yield b"first"
    context.cancel()


def flaky(request, context):
    """UNAVAILABLE as often as the request says."""
    if counts["flaky"] <= int(request):
        context.abort(grpc.StatusCode.UNAVAILABLE, "not yet")
    return b"%d" % counts["flaky"]


def hold(request, context):
    """Until `set_free` is called, or it is cancelled."""
    with changes:
        changes.wait_for(lambda: free or not context.is_active())
    return request


def patience(request, context):
    """For how many seconds its client still waits."""
    return str(context.time_remaining()).encode()


def linger(request, context):
    """Answers, and goes on as `hold`."""
    yield b"first"
    hold(request, context)


def set_free(request, context):
    global free
    with changes:
        free = True
        changes.notify_all()
    return b""


def state(request, context):
    with changes:
        return json.dumps({**counts, "peers": len(peers)}).encode()


@contextlib.contextmanager
def counted(name, context):
    over = []

    def end():
        with changes:
            counts["cancelled"] += not over
            changes.notify_all()

    context.add_callback(end)
    peers.add(context.peer())
    add("now")
    add(name)
    try:
        yield
        over.append(True)
    finally:
        add("now", -1)


def watched(method):
    def unary(request, context):
        with counted(method.__name__, context):
            return method(request, context)

    def stream(request, context):
        with counted(method.__name__, context):
            yield from method(request, context)

    return stream if method in (count, both, fail_late, leave, linger) else unary


METHODS = {f"/up/{method.__name__}": kind(watched(method)) for kind, methods in {
    grpc.unary_unary_rpc_method_handler: [echo, who, fail, refuse, flaky, hold],
    grpc.unary_stream_rpc_method_handler: [count, fail_late, leave, linger],
    grpc.stream_unary_rpc_method_handler: [length],
    grpc.stream_stream_rpc_method_handler: [both],
}.items() for method in methods}
METHODS |= {f"/up/{method.__name__}": grpc.unary_unary_rpc_method_handler(method) for method in (patience, set_free, state)}


class Up(grpc.GenericRpcHandler):
    def service(self, call):
        return METHODS.get(call.method)


options = [("grpc.so_reuseport", 0), ("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]
options += [(f"grpc.{name}", int(value)) for name, value in (option.split("=") for option in OPTIONS)]
server = grpc.server(futures.ThreadPoolExecutor(100), handlers=[Up()], options=options)
if "KEY" in os.environ:
    certificate, key = (pathlib.Path(os.environ[name]).read_bytes() for name in ("CERTIFICATE", "KEY"))
    clients = pathlib.Path(os.environ["CLIENTS"]).read_bytes() if "CLIENTS" in os.environ else None
    server.add_secure_port(ADDRESS, grpc.ssl_server_credentials([(key, certificate)], clients, clients is not None))
else:
    server.add_insecure_port(ADDRESS)
end = threading.Event()
signal.signal(signal.SIGTERM, lambda *_: end.set())
server.start()
end.wait()
server.stop(3).wait(4)
os._exit(0)  # whatever gRPC has forgotten
