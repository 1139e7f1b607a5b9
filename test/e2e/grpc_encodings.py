"""How gRPC compresses messages, by libraries that berthd does not use."""

import gzip

import snappy.snappy

from http2 import framed

TABLE = []
for byte in range(256):
    for _ in range(8):
        byte = byte >> 1 ^ (0x82F63B78 if byte & 1 else 0)
    TABLE.append(byte)


def crc32c(data):
    """Debian 12's python3-snappy has one that Python 3.11 cannot call."""
    rest = 0xFFFFFFFF
    for byte in data:
        rest = rest >> 8 ^ TABLE[(rest ^ byte) & 0xFF]
    return rest ^ 0xFFFFFFFF


snappy.snappy._crc32c = crc32c


def compressed(encoding, data):
    if encoding == "gzip":
        return gzip.compress(data, mtime=0)
    return snappy.StreamCompressor().add_chunk(data)


def decompressed(encoding, data):
    return gzip.decompress(data) if encoding == "gzip" else snappy.StreamDecompressor().decompress(data)


def packed(encoding, message):
    """A message as it goes over the wire."""
    data = compressed(encoding, message)
    return b"\1" + framed(data)[1:]


def messages(body):
    """The messages of a body, each with whether it is compressed."""
    found = []
    while body:
        length = int.from_bytes(body[1:5], "big")
        assert len(body) >= 5 + length, "a message is whole"
        found.append((body[0] == 1, body[5:5 + length]))
        body = body[5 + length:]
    return found
