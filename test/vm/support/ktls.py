"""Pairs of TCP sockets with kernel TLS on both ends, and records that are not data."""

import socket
import struct

SOL_TLS = 282
SET_RECORD_TYPE = 1
GET_RECORD_TYPE = 2
TLS_TX = 1
TLS_RX = 2
TCP_ULP = 31
ALERT = 21
HANDSHAKE = 22
CLOSE_NOTIFY = b"\1\0"
INTERNAL_ERROR = b"\2\x50"
HELLO_REQUEST = bytes(4)


def plain_pair():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        near = socket.create_connection(listener.getsockname())
        return near, listener.accept()[0]


def keys(letter):
    """AES-128-GCM of TLS 1.2: version, cipher, explicit nonce, key, salt, sequence."""
    return struct.pack("=HH8s16s4s8s", 0x0303, 51, bytes(7) + b"\1", letter * 16, letter * 4, bytes(7) + b"\1")


def pair():
    near, far = plain_pair()
    for sock, sends, hears in ((near, b"a", b"b"), (far, b"b", b"a")):
        sock.setsockopt(socket.IPPROTO_TCP, TCP_ULP, b"tls")
        sock.setsockopt(SOL_TLS, TLS_TX, keys(sends))
        sock.setsockopt(SOL_TLS, TLS_RX, keys(hears))
        sock.settimeout(30)
    near.settimeout(None)
    return near, far


def has_layer(sock):
    return sock.getsockopt(socket.IPPROTO_TCP, TCP_ULP, 16).rstrip(b"\0") == b"tls"


def say_record(sock, kind, data):
    sock.sendmsg([data], [(SOL_TLS, SET_RECORD_TYPE, bytes([kind]))])


def hear_record(sock):
    data, control, _, _ = sock.recvmsg(20000, socket.CMSG_SPACE(1))
    return control[0][2][0] if control else None, data
