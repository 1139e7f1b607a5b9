"""Frames: what is written is what is read, by protobuf's own implementation too."""

import importlib.util
import os
import random
import shutil
import subprocess

import pytest

from berth import _frames as frames
from berth._frames import Cause, Code, MalformedFrame, Outcome

WHY = frames.Why(
    cause=Cause.EXHAUSTED,
    leased=20,
    max_connections=20,
    waiting=3,
    dial_failures=2**40,
    last_dial_error="Connection refused",
    holders=(frames.Holder(4121, 33, "php-fpm", 31000), frames.Holder(uid=1000)),
)

CLIENT = {
    "hello": frames.Hello(1, "crön"),
    "lease": frames.LeaseRequest(2**63, "redis", 64, 0, "00-trace-01"),
    "release": frames.Release(2**61 - 1, Outcome.REUSE, 5),
    "cancel": frames.Cancel(128),
    "list_keys": frames.ListKeys(1, "a"),
}

SERVER = {
    "welcome": frames.Welcome(1, 7, bytes(range(16)), frames.Limits(65536, 64, 4096, 256)),
    "goodbye": frames.Goodbye(Code.VERSION, "speak 1"),
    "grant": frames.Grant(
        3, (frames.GrantedLease(2**61 - 1, True), frames.GrantedLease(300, False))
    ),
    "refusal": frames.Refusal(4, Code.TIMED_OUT, "timed out after 5 s", WHY),
    "released": frames.Released(5, Code.NO_SUCH_LEASE, "lease 9 is unknown"),
    "revoked": frames.Revoked(6, Code.REVOKED, "held for 1 h"),
    "key_list": frames.KeyList(7, ("a", "", "b"), True),
}

DEFAULTS = [frames.Refusal(), frames.Grant(), frames.Welcome(), frames.KeyList()]


@pytest.mark.parametrize("frame", CLIENT.values(), ids=CLIENT)
def test_client_frame_survives_the_wire(frame):
    assert frames.decode_client(frames.encode_client(frame)) == frame


@pytest.mark.parametrize("frame", [*SERVER.values(), *DEFAULTS])
def test_server_frame_survives_the_wire(frame):
    assert frames.decode_server(frames.encode_server(frame)) == frame


def test_absent_timeout_is_not_a_timeout_of_zero():
    absent = frames.encode_client(frames.LeaseRequest(1, "k", 1, None))
    zero = frames.encode_client(frames.LeaseRequest(1, "k", 1, 0))
    assert absent != zero
    assert frames.decode_client(absent).timeout_ms is None
    assert frames.decode_client(zero).timeout_ms == 0


def test_unknown_fields_of_every_wire_type_are_skipped():
    extra = b"\x78\x05" + b"\x79" + bytes(8) + b"\x7a\x02hi" + b"\x7d" + bytes(4)
    inner = extra + b"\x08\x09" + extra
    data = b"\x12" + bytes([len(inner)]) + inner
    assert frames.decode_server(data) == frames.Goodbye(code=Code.NO_SUCH_KEY + 6)


def test_unknown_kind_beside_a_known_one_is_skipped():
    assert frames.decode_server(b"\x4a\x00\x12\x00\x78\x05") == frames.Goodbye()


def test_field_of_another_wire_type_counts_as_unknown():
    assert frames.decode_server(b"\x12\x03\x0a\x01\x05") == frames.Goodbye()


def test_unknown_enum_values_become_the_cautious_ones():
    assert frames.decode_server(b"\x12\x02\x08\x63").code is Code.INTERNAL
    assert frames.decode_client(b"\x1a\x04\x08\x01\x10\x63").outcome is Outcome.DISCARD


def test_text_that_is_not_utf8_does_not_cost_the_session():
    assert frames.decode_server(b"\x12\x03\x12\x01\xff").message == "\ufffd"


@pytest.mark.parametrize(
    "data, words",
    [
        (b"", "is empty"),
        (b"\x4a\x00", "unknown kind 9"),
        (b"\x08\x01", "unknown kind 1"),
        (b"\x12\x05\x08\x01", "ends inside a field"),
        (b"\x12", "ends inside a number"),
        (b"\x12\x01\x08", "ends inside a number"),
        (b"\x80" * 11, "more than 10 bytes"),
        (b"\x02\x00", "field number out of range"),
        (b"\x13", "wire type 3"),
        (b"\x12\x01\x16", "wire type 6"),
        (b"\x12" + b"\xff" * 9 + b"\x01", "ends inside a field"),
        (bytes(65537), "longer than 65536 bytes"),
    ],
)
def test_malformed_frame_is_named(data, words):
    with pytest.raises(MalformedFrame, match=words):
        frames.decode_server(data)


def mutations(data, rng):
    yield from (data[:n] for n in range(len(data)))
    for _ in range(300):
        changed = bytearray(data)
        for _ in range(rng.randint(1, 4)):
            changed[rng.randrange(len(changed))] = rng.randrange(256)
        yield bytes(changed)


@pytest.mark.parametrize("frame", SERVER.values(), ids=SERVER)
def test_any_bytes_give_a_frame_or_malformed_frame(frame):
    for data in mutations(frames.encode_server(frame), random.Random(1)):
        try:
            frames.decode_server(data)
        except MalformedFrame:
            pass


# --- against protoc's code ---


@pytest.fixture(scope="module")
def generated(tmp_path_factory):
    pytest.importorskip("google.protobuf", reason="python3-protobuf is not installed")
    if not shutil.which("protoc"):
        pytest.skip("protoc is not installed")
    here = os.path.dirname(os.path.abspath(__file__))
    protos = os.path.join(here, "..", "..", "..", "proto")
    if not os.path.exists(os.path.join(protos, "berth/v1/session.proto")):
        pytest.skip("not in berth's source tree")
    out = tmp_path_factory.mktemp("protoc")
    command = ["protoc", f"-I{protos}", f"--python_out={out}", "berth/v1/session.proto"]
    subprocess.run(command, check=True)
    spec = importlib.util.spec_from_file_location(
        "session_pb2", out / "berth" / "v1" / "session_pb2.py"
    )
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def fields_set(message):
    """A frame of ours as nested dicts, without what is at its default."""
    if isinstance(message, tuple):
        return [fields_set(item) for item in message]
    if not hasattr(message, "__dataclass_fields__"):
        return message
    values = {n: fields_set(getattr(message, n)) for n in message.__dataclass_fields__}
    return {n: v for n, v in values.items() if v or (n == "timeout_ms" and v is not None)}


def pb_fields_set(message):
    def value(field, of):
        if field.type != field.TYPE_MESSAGE:
            return list(of) if field.label == field.LABEL_REPEATED else of
        if field.label == field.LABEL_REPEATED:
            return [pb_fields_set(item) for item in of]
        return pb_fields_set(of)

    return {field.name: value(field, of) for field, of in message.ListFields()}


def both_ways(pb_frame, kind, frame, data):
    pb_frame.ParseFromString(data)
    assert pb_frame.WhichOneof("kind") == kind
    assert pb_fields_set(getattr(pb_frame, kind)) == fields_set(frame)
    assert pb_frame.SerializeToString() == data


@pytest.mark.parametrize("kind", CLIENT)
def test_protobuf_reads_and_writes_the_same_client_frame(generated, kind):
    data = frames.encode_client(CLIENT[kind])
    both_ways(generated.ClientFrame(), kind, CLIENT[kind], data)


@pytest.mark.parametrize("kind", SERVER)
def test_protobuf_reads_and_writes_the_same_server_frame(generated, kind):
    data = frames.encode_server(SERVER[kind])
    both_ways(generated.ServerFrame(), kind, SERVER[kind], data)


def test_every_field_and_value_of_the_proto_is_known_here(generated):
    for name, message in generated.DESCRIPTOR.message_types_by_name.items():
        if name in ("ClientFrame", "ServerFrame"):
            continue
        ours = getattr(frames, name).__dataclass_fields__
        assert list(ours) == [field.name for field in message.fields], name
        numbers = [f.metadata["berth.wire"].number for f in ours.values()]
        assert numbers == [field.number for field in message.fields], name
    for enum in (Code, Cause, Outcome):
        theirs = generated.DESCRIPTOR.enum_types_by_name.get(enum.__name__)
        theirs = theirs or generated.Why.DESCRIPTOR.enum_types_by_name[enum.__name__]
        assert {e.name: e.value for e in enum} == {v.name: v.number for v in theirs.values}


@pytest.mark.parametrize("kind", SERVER)
def test_protobuf_agrees_about_mutated_frames(generated, kind):
    """What both accept means the same; what we accept is never more than protobuf does."""
    for data in mutations(frames.encode_server(SERVER[kind]), random.Random(2)):
        try:
            ours = frames.decode_server(data)
        except MalformedFrame:
            continue
        theirs = generated.ServerFrame()
        try:
            theirs.ParseFromString(data)
        except Exception:
            assert "\ufffd" in repr(ours), data  # it refuses texts that are not UTF-8
            continue
        # Repeated singular messages are merged there and replaced here; codes beyond the enum
        # keep their number there.
        again = frames.decode_server(theirs.SerializeToString())
        if data.count(data[:1]) == 1:
            assert again == ours, data
