#!/usr/bin/env python3
"""fastcgi_load SOCKET SCRIPT QUERY PAGES CLIENTS

Asks php-fpm for PAGES pages, CLIENTS at a time, and prints {"per_second": …}. Every page must say "ok".
FastCGI 1.0: a request is BEGIN_REQUEST, PARAMS and STDIN, each with an empty end; the answer is STDOUT, END_REQUEST.
"""

import json
import socket
import struct
import sys
import threading
import time

BEGIN, END, PARAMS, STDIN, STDOUT = 1, 3, 4, 5, 6
RESPONDER = struct.pack("!HB5x", 1, 0)


def record(kind, content=b""):
    return struct.pack("!BBHHBx", 1, kind, 1, len(content), 0) + content


def request(script, query):
    parameters = {"SCRIPT_FILENAME": script, "REQUEST_METHOD": "GET", "QUERY_STRING": query}
    pairs = b"".join(bytes([len(name), len(value)]) + name.encode() + value.encode()
                     for name, value in parameters.items())
    return record(BEGIN, RESPONDER) + record(PARAMS, pairs) + record(PARAMS) + record(STDIN)


def page(path, asked):
    with socket.socket(socket.AF_UNIX) as sock:
        sock.connect(path)
        sock.sendall(asked)
        body = b""
        with sock.makefile("rb") as answer:
            while True:
                _, kind, _, size, padding = struct.unpack("!BBHHBx", answer.read(8))
                content = answer.read(size)
                answer.read(padding)
                body += content if kind == STDOUT else b""
                if kind == END:
                    return body


def main():
    path, script, query, pages, clients = sys.argv[1:]
    asked = request(script, query)
    faults = []

    def work():
        for _ in range(int(pages) // int(clients)):
            body = page(path, asked)
            if not body.endswith(b"\r\n\r\nok"):
                faults.append(body)
                return

    page(path, asked)
    threads = [threading.Thread(target=work) for _ in range(int(clients))]
    begun = time.monotonic()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if faults:
        sys.exit(f"fastcgi_load: not a good page: {faults[0]!r}")
    print(json.dumps({"per_second": int(pages) / (time.monotonic() - begun)}))


if __name__ == "__main__":
    main()
