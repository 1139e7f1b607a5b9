"""The part of the protobuf wire format that session.proto uses: bytes in, values out.

A message is a frozen dataclass whose fields are declared with uint32(), text() and so on, each
with its number. Decoding trusts nothing: whatever the bytes are, the outcome is a message or
MalformedFrame. As protobuf demands, unknown fields and known ones of another wire type are
skipped, and defaults are not written.
"""

from __future__ import annotations

import dataclasses
import enum
import functools
from typing import (
    Any,
    Callable,
    Dict,
    Iterator,
    List,
    Mapping,
    Optional,
    Tuple,
    Type,
    TypeVar,
    Union,
)

Message = TypeVar("Message")
Value = Union[int, bytes]  # of wire types 0 and 2

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_FIXED_SIZES = {_FIXED64: 8, _FIXED32: 4}
_METADATA = "berth.wire"


class MalformedFrame(ValueError):
    """The bytes are not a frame; the text says why."""


class _Kind:
    """How one field is written and read."""

    def __init__(
        self,
        number: int,
        wire_type: int,
        read: Callable[[Any], Any],
        write: Callable[[Any], Value],
        *,
        repeated: bool = False,
        presence: bool = False,
    ) -> None:
        self.number = number
        self.wire_type = wire_type
        self.read = read
        self.write = write
        self.repeated = repeated
        self.presence = presence


def _declare(kind: _Kind, default: Any) -> Any:
    return dataclasses.field(default=default, metadata={_METADATA: kind})


def uint32(number: int) -> Any:
    return _declare(_Kind(number, _VARINT, lambda v: v & 0xFFFFFFFF, int), 0)


def uint64(number: int) -> Any:
    return _declare(_Kind(number, _VARINT, int, int), 0)


def optional_uint64(number: int) -> Any:
    return _declare(_Kind(number, _VARINT, int, int, presence=True), None)


def boolean(number: int) -> Any:
    return _declare(_Kind(number, _VARINT, bool, int), False)


def enumeration(number: int, kind: Type[enum.IntEnum], unknown: enum.IntEnum) -> Any:
    """An enum; numbers that this version does not know are read as `unknown`."""

    def read(value: int) -> enum.IntEnum:
        try:
            return kind(value & 0xFFFFFFFF)
        except ValueError:
            return unknown

    return _declare(_Kind(number, _VARINT, read, int), kind(0))


# Texts hold what other programs are called and what servers said: bytes that are not UTF-8 must
# not cost the session.
def _read_text(data: bytes) -> str:
    return data.decode("utf-8", "replace")


def text(number: int) -> Any:
    return _declare(_Kind(number, _BYTES, _read_text, str.encode), "")


def texts(number: int) -> Any:
    return _declare(_Kind(number, _BYTES, _read_text, str.encode, repeated=True), ())


def data(number: int) -> Any:
    return _declare(_Kind(number, _BYTES, bytes, bytes), b"")


def submessage(number: int, kind: type) -> Any:
    read = functools.partial(decode, kind)
    return _declare(_Kind(number, _BYTES, read, encode, presence=True), None)


def submessages(number: int, kind: type) -> Any:
    read = functools.partial(decode, kind)
    return _declare(_Kind(number, _BYTES, read, encode, repeated=True), ())


_Schema = Dict[int, Tuple[str, _Kind]]
_schemas: Dict[type, _Schema] = {}


def _schema(message_type: type) -> _Schema:
    """Number -> field name and kind, in the order of declaration."""
    if message_type not in _schemas:
        kinds = [(f.name, f.metadata[_METADATA]) for f in dataclasses.fields(message_type)]
        _schemas[message_type] = {kind.number: (name, kind) for name, kind in kinds}
    return _schemas[message_type]


# --- encoding ---


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def encode_field(number: int, value: Value) -> bytes:
    """One field: an int as a varint (0 <= value < 2**64), bytes with their length."""
    if isinstance(value, int):
        return _varint(number << 3 | _VARINT) + _varint(value)
    return _varint(number << 3 | _BYTES) + _varint(len(value)) + value


def encode(message: Any) -> bytes:
    """The fields of a message, in the order of its declaration, without defaults."""
    out: List[bytes] = []
    for name, kind in _schema(type(message)).values():
        value = getattr(message, name)
        if kind.repeated:
            out.extend(encode_field(kind.number, kind.write(item)) for item in value)
        elif value is not None and (value or kind.presence):
            out.append(encode_field(kind.number, kind.write(value)))
    return b"".join(out)


# --- decoding ---


def _read_varint(buffer: bytes, at: int) -> Tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        if at >= len(buffer):
            raise MalformedFrame("ends inside a number")
        byte = buffer[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value & 0xFFFFFFFFFFFFFFFF, at
    raise MalformedFrame("has a number of more than 10 bytes")


def _read_slice(buffer: bytes, at: int, size: int) -> Tuple[bytes, int]:
    if size > len(buffer) - at:
        raise MalformedFrame("ends inside a field")
    return buffer[at : at + size], at + size


def fields_of(buffer: bytes) -> Iterator[Tuple[int, int, Value]]:
    """Yields (number, wire type, value) of each field; raises MalformedFrame."""
    at = 0
    while at < len(buffer):
        tag, at = _read_varint(buffer, at)
        number, wire_type = tag >> 3, tag & 7
        if not 0 < number < 1 << 29:
            raise MalformedFrame("has a field number out of range")
        value: Value
        if wire_type == _VARINT:
            value, at = _read_varint(buffer, at)
        elif wire_type == _BYTES:
            size, at = _read_varint(buffer, at)
            value, at = _read_slice(buffer, at, size)
        elif wire_type in _FIXED_SIZES:
            value, at = _read_slice(buffer, at, _FIXED_SIZES[wire_type])
        else:
            raise MalformedFrame(f"has wire type {wire_type}")
        yield number, wire_type, value


def decode(message_type: Type[Message], buffer: bytes) -> Message:
    """Raises MalformedFrame."""
    schema = _schema(message_type)
    values: Dict[str, Any] = {}
    for number, wire_type, raw in fields_of(buffer):
        name, kind = schema.get(number, ("", None))
        if kind is None or kind.wire_type != wire_type:
            continue
        value = kind.read(raw)
        values[name] = values.get(name, ()) + (value,) if kind.repeated else value
    return message_type(**values)


def encode_one_of(kinds: Mapping[int, type], message: Any) -> bytes:
    """A frame: a message whose only field is a oneof of `kinds`, by number."""
    number = next(number for number, kind in kinds.items() if kind is type(message))
    return encode_field(number, encode(message))


def decode_one_of(kinds: Mapping[int, Type[Any]], buffer: bytes) -> Any:
    """Raises MalformedFrame, also for a frame that is empty or of an unknown kind."""
    found: Optional[Any] = None
    unknown = 0
    for number, wire_type, value in fields_of(buffer):
        if number in kinds and wire_type == _BYTES:
            found = decode(kinds[number], bytes(value))
        else:
            unknown = number
    if found is None:
        raise MalformedFrame(f"is of the unknown kind {unknown}" if unknown else "is empty")
    return found
