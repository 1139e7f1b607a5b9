"""What the lease of a socket that the kernel encrypts costs, beside that of a plain one: `make bench` has no such kernel.

Emulation slows system calls more than it slows what they are compared with elsewhere, so leases are compared with leases.
"""

import json
import statistics
import subprocess

import ktls
from berthd import BUILD
from servers import Nginx

ROUNDS = 9
LEASES = 500
LIMIT_S = 120


def lease_us(daemon, key):
    done = subprocess.run([BUILD / "bench/lease_load", "lease", daemon.path, str(LEASES), "1", key], check=True,
                          stdout=subprocess.PIPE, timeout=LIMIT_S)
    return json.loads(done.stdout)["p50_ns"] / 1000


def test_a_warm_lease_under_kernel_tls_costs_what_a_plain_one_does(berthd, files, certificate, tmp_path, capsys):
    places = {name: tmp_path / name for name in ("plain", "encrypted")}
    for place in places.values():
        place.mkdir()
    plain = Nginx(places["plain"])
    encrypted = Nginx(places["encrypted"], tls=certificate, tls_options="ssl_protocols TLSv1.2;")
    try:
        trust = {"endpoints": [encrypted.url], "ca": str(files.ca)}
        d = berthd({"plain": {"endpoints": [plain.url]}, "ktls": {**trust, "handoff": "ktls"},
                    "carried": {**trust, "handoff": "relay"}})
        with d.session() as session, session.lease("ktls") as lease:
            assert ktls.has_layer(lease.sock)
        times = {key: [] for key in ("plain", "ktls", "carried")}
        for _ in range(ROUNDS):
            for key, found in times.items():
                found.append(lease_us(d, key))
        assert d.connections_to(plain.port) == 1 and d.connections_to(encrypted.port) == 2  # all leased the same
        ratio = {key: statistics.median(a / b for a, b in zip(found, times["plain"])) for key, found in times.items()}
        with capsys.disabled():
            print("\nwarm lease + release, p50: " + ", ".join(
                f"{key} {statistics.median(found):.1f} µs ({ratio[key]:.2f} ×)" for key, found in times.items()))
        assert ratio["ktls"] <= 1.25
    finally:
        plain.kill()
        encrypted.kill()
