"""As much of the clients of some servers as tests need on a connection that they have."""

import struct

from upstream import read_line


def exactly(sock, size):
    data = b""
    while len(data) < size:
        more = sock.recv(size - len(data))
        assert more, f"the connection ended after {data!r}"
        data += more
    return data


# --- MariaDB ---


def packet(sock):
    size = int.from_bytes(exactly(sock, 4)[:3], "little")
    return exactly(sock, size)


def query(sock, sql):
    """The one value that it asks for, as text, or None."""
    command = b"\x03" + sql.encode()
    sock.sendall(struct.pack("<I", len(command)) + command)
    first = packet(sock)
    if first[0] == 0:
        return None
    assert first == b"\x01", first
    packet(sock)  # the column
    assert packet(sock)[0] == 0xFE
    row = packet(sock)
    assert packet(sock)[0] == 0xFE
    return None if row[0] == 0xFB else row[1:].decode()


# --- PostgreSQL ---


def message(sock):
    kind, size = struct.unpack("!cI", exactly(sock, 5))
    return kind, exactly(sock, size - 4)


def until(sock, wanted):
    """The messages up to one of this kind."""
    seen = [message(sock)]
    while seen[-1][0] != wanted:
        assert seen[-1][0] != b"E", seen[-1]
        seen.append(message(sock))
    return seen


def log_in(sock):
    words = b"user\0postgres\0database\0postgres\0\0"
    sock.sendall(struct.pack("!II", 8 + len(words), 3 << 16) + words)
    return until(sock, b"Z")


def simple_query(sql):
    text = sql.encode() + b"\0"
    return struct.pack("!cI", b"Q", 4 + len(text)) + text


def execute(sock, sql):
    sock.sendall(simple_query(sql))
    return until(sock, b"Z")


def select(sock, sql):
    """The one value that it asks for, as text."""
    (row,) = [data for kind, data in execute(sock, sql) if kind == b"D"]
    return row[6:].decode()


# --- SMTP ---


def smtp(sock, line):
    """The code of the reply to a line, and the lines of the reply."""
    sock.sendall(line.encode() + b"\r\n")
    return smtp_reply(sock)


def smtp_reply(sock):
    lines = [read_line(sock).decode()]
    while lines[-1][3:4] == "-":
        lines.append(read_line(sock).decode())
    return int(lines[-1][:3]), lines


# --- LDAP ---


def _ber(tag, *parts):
    data = b"".join(parts)
    assert len(data) < 128
    return bytes([tag, len(data)]) + data


def ldap_bind(name="", password=""):
    request = _ber(0x60, _ber(2, b"\x03"), _ber(4, name.encode()), _ber(0x80, password.encode()))
    return _ber(0x30, _ber(2, b"\x01"), request)


def bind(sock, name, password):
    """The result code."""
    sock.sendall(ldap_bind(name, password))
    answer = ldap_message(sock)
    assert answer[:4] == b"\x02\x01\x01\x61", answer
    return answer[7]


def who_am_i(sock):
    """As the server knows the client: "dn:cn=admin,dc=one", or "" for nobody."""
    sock.sendall(_ber(0x30, _ber(2, b"\x02"), _ber(0x77, _ber(0x80, b"1.3.6.1.4.1.4203.1.11.3"))))
    answer = ldap_message(sock)
    assert answer[:4] == b"\x02\x01\x02\x78" and answer[5:8] == b"\x0a\x01\x00", answer
    return answer.partition(b"\x8b")[2][1:].decode()


def ldap_message(sock):
    """What is in the next message of less than 128 bytes: its id, and what follows it."""
    tag, size = exactly(sock, 2)
    assert tag == 0x30 and size < 128
    return exactly(sock, size)
