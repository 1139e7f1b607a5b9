"""Certificates for tests, made by the openssl program with keys of EC P-256."""

import os
import pathlib
import shutil
import subprocess
import time
from dataclasses import dataclass

from servers import need


@dataclass
class Certificate:
    file: pathlib.Path  # followed by those that lead to its issuer
    key: pathlib.Path

    def key_of(self, folder):
        """A copy of the key for whoever owns `folder`, closed to everybody else."""
        copy = pathlib.Path(folder, "tls.key")
        shutil.copy(self.key, copy)
        copy.chmod(0o600)
        owner = os.stat(folder)
        os.chown(copy, owner.st_uid, owner.st_gid)
        return copy


class TlsFiles:
    """An authority, `ca`, and what it certifies. Names are DNS names or IP addresses."""

    def __init__(self, folder):
        self.folder = pathlib.Path(folder, "tls")
        self.folder.mkdir()
        self.folder.chmod(0o755)
        self._openssl, = need("openssl")
        self._count = 0
        self._authority = self._self_signed("the tests' authority", "basicConstraints=critical,CA:TRUE",
                                            "keyUsage=critical,keyCertSign,cRLSign")
        self.ca = self._authority.file

    def server(self, *names, rsa=False, extensions=(), not_after=None):
        """Certified for these names. `not_after`: as openssl has it, YYYYMMDDHHMMSSZ."""
        return self._issue([f"subjectAltName={_alternatives(names)}", "extendedKeyUsage=serverAuth", *extensions],
                           rsa=rsa, not_after=not_after)

    def expired(self, *names):
        return self.server(*names, not_after="20200102000000Z")

    def with_unknown_critical_extension(self, *names):
        return self.server(*names, extensions=["1.2.3.4.5=critical,ASN1:NULL"])

    def self_signed(self, *names):
        return self._self_signed("alone", f"subjectAltName={_alternatives(names)}")

    def client(self, name):
        return self._issue(["extendedKeyUsage=clientAuth"], name=name)

    def other_authority(self):
        place = self.folder / "other"
        if not place.exists():
            place.mkdir()
            self._other = TlsFiles(place)
        return self._other

    def _run(self, *arguments, **options):
        subprocess.run([self._openssl, *map(str, arguments)], check=True, capture_output=True, cwd=self.folder,
                       **options)

    def _paths(self):
        self._count += 1
        return Certificate(self.folder / f"{self._count}.pem", self.folder / f"{self._count}.key")

    def _new_key(self, path, rsa=False):
        kind = ["RSA", "-pkeyopt", "rsa_keygen_bits:2048"] if rsa else ["EC", "-pkeyopt", "ec_paramgen_curve:P-256"]
        self._run("genpkey", "-algorithm", *kind, "-out", path)
        path.chmod(0o600)

    def _self_signed(self, name, *extensions):
        made = self._paths()
        self._new_key(made.key)
        self._run("req", "-x509", "-new", "-key", made.key, "-subj", f"/CN={name}", "-days", 2, "-out", made.file,
                  *(word for each in extensions for word in ("-addext", each)))
        return made

    def _issue(self, extensions, name="server", rsa=False, not_after=None):
        made = self._paths()
        self._new_key(made.key, rsa)
        config = made.file.with_suffix(".cnf")
        config.write_text(_AUTHORITY + "\n".join(extensions) + "\n")
        made.file.with_suffix(".index").touch()
        request = made.file.with_suffix(".csr")
        self._run("req", "-new", "-key", made.key, "-subj", f"/CN={name}", "-out", request)
        until = not_after or time.strftime("%Y%m%d%H%M%SZ", time.gmtime(time.time() + 2 * 86400))
        self._run("ca", "-batch", "-notext", "-config", config, "-in", request, "-out", made.file, "-startdate",
                  "20200101000000Z", "-enddate", until, "-cert", self._authority.file, "-keyfile",
                  self._authority.key, env={**os.environ, "BASE": str(made.file.with_suffix(""))})
        return made


# What `openssl ca` must be told; the extensions follow.
_AUTHORITY = """
[ca]
default_ca = here
[here]
database = $ENV::BASE.index
new_certs_dir = .
rand_serial = yes
default_md = sha256
policy = any
x509_extensions = extensions
[any]
commonName = supplied
[extensions]
basicConstraints = critical,CA:FALSE
"""


def _alternatives(names):
    return ",".join(("IP:" if name.replace(".", "").isdigit() or ":" in name else "DNS:") + name for name in names)
