"""The guest's files, as an archive that Linux unpacks into memory when it boots (cpio, "newc")."""

import os
import pathlib
import re
import stat
import subprocess


def libraries(program):
    linked = subprocess.run(["ldd", program], capture_output=True, text=True, check=False).stdout
    return re.findall(r"(/\S+) \(0x", linked)


class Initramfs:
    """Each file once, with the folders above it. Links are followed, so that no link leads nowhere."""

    def __init__(self):
        self.files = {}  # path in the guest, without the first slash: (mode, bytes or a path on this host)

    def add_bytes(self, guest, data, mode=0o644):
        guest = str(guest).lstrip("/")
        for folder in reversed(pathlib.PurePosixPath(guest).parents[:-1]):
            self.files.setdefault(str(folder), (stat.S_IFDIR | 0o755, b""))
        self.files[guest] = (stat.S_IFREG | mode, data)

    def add_file(self, guest, host):
        host = pathlib.Path(host)
        self.add_bytes(guest, host, stat.S_IMODE(host.stat().st_mode))

    def add_tree(self, guest, host):
        for path in sorted(pathlib.Path(host).rglob("*")):
            if path.is_file() and "__pycache__" not in path.parts:
                self.add_file(f"{guest}/{path.relative_to(host)}", path)

    def add_program(self, guest, host):
        self.add_file(guest, host)
        for library in libraries(host):
            self.add_file(library, library)

    def add_package(self, name):
        """All files of an installed Debian package, but its documents."""
        listed = subprocess.run(["dpkg", "-L", name], capture_output=True, text=True, check=True).stdout
        for path in listed.splitlines():
            if not os.path.isfile(path) or path.startswith("/usr/share/"):
                continue
            is_program = ".so" in path or "/bin/" in path
            (self.add_program if is_program else self.add_file)(path, path)

    def write(self, path):
        with open(path, "wb") as archive:
            for number, (guest, (mode, content)) in enumerate(self.files.items(), start=1):
                data = content if isinstance(content, bytes) else content.read_bytes()
                _write_entry(archive, number, guest, mode, data)
            _write_entry(archive, 0, "TRAILER!!!", 0, b"")


def _write_entry(archive, number, guest, mode, data):
    name = guest.encode() + b"\0"
    links = 2 if stat.S_ISDIR(mode) else 1
    fields = (number, mode, 0, 0, links, 0, len(data), 0, 0, 0, 0, len(name), 0)
    head = b"070701" + b"".join(b"%08X" % field for field in fields) + name
    archive.write(head + bytes(-len(head) % 4) + data + bytes(-len(data) % 4))
