"""Debian's kernel for virtual machines: fetched as a package, unpacked, never installed."""

import pathlib
import re
import subprocess

PACKAGE = "linux-image-cloud-amd64"  # depends on that of the current version
# What TLS needs of it; their dependencies come by themselves. AES itself is built in.
MODULES = ("ctr", "gcm", "ghash-generic", "chacha_generic", "poly1305_generic", "chacha20poly1305", "tls")


class Kernel:
    def __init__(self, folder):
        """Fetches it into `folder`, once. Raises OSError in words."""
        name = _newest() or _fetched(folder)
        if name is None:
            raise OSError(f"apt-cache knows no {PACKAGE}; perhaps: apt-get update")
        self.folder = folder / name
        if not self.folder.exists():
            _fetch(name, self.folder)
        self.image = next(self.folder.glob("boot/vmlinuz-*"))
        self._files = {path.stem: path for path in self.folder.rglob("*.ko")}

    def modules(self):
        """The files of MODULES, each after those that it depends on."""
        order = []
        for name in MODULES:
            self._add(name, order)
        return order

    def _add(self, name, order):
        path = self._files[name]
        for needed in _depends(path):
            self._add(needed, order)
        if path not in order:
            order.append(path)


def _newest():
    shown = subprocess.run(["apt-cache", "depends", PACKAGE], capture_output=True, text=True, check=False).stdout
    found = re.search(r"linux-image-\d\S*-cloud-amd64", shown)
    return found and found.group()


def _fetched(folder):
    return max((path.name for path in folder.glob("linux-image-*") if path.is_dir()), default=None)


def _fetch(name, folder):
    partly = pathlib.Path(f"{folder}.part")
    subprocess.run(["rm", "-rf", partly], check=True)
    partly.mkdir(parents=True)
    fetched = subprocess.run(["apt-get", "-q", "download", name], cwd=partly, capture_output=True, text=True, check=False)
    packages = list(partly.glob("*.deb"))
    if fetched.returncode != 0 or not packages:
        raise OSError(f"apt-get download {name}: {fetched.stderr.strip()}; perhaps: apt-get update")
    subprocess.run(["dpkg", "-x", packages[0], partly], check=True)
    packages[0].unlink()
    partly.rename(folder)


def _depends(path):
    """Names of modules as its .modinfo has them; file names may have - where modules have _."""
    found = re.search(rb"\0depends=([^\0]*)\0", path.read_bytes())
    return [name for name in (found.group(1).decode().split(",") if found else []) if name]
