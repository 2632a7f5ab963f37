"""Certificates for tests, made by the program openssl."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from tempfile import mkdtemp

import pytest

_BEGINS, _ENDS = "20200101000000Z", "20400101000000Z"


@dataclass(frozen=True)
class Pair:
    """A certificate and its key, in PEM files."""

    certificate: Path
    key: Path

    @property
    def options(self) -> list[str]:
        """Those of `tierwise serve`."""
        return ["--tls-cert", str(self.certificate), "--tls-key", str(self.key)]


def openssl(*words: str | Path, given: str = "") -> str:
    if shutil.which("openssl") is None:
        pytest.skip("certificates for tests are made by openssl, which is not installed here")
    return subprocess.run(["openssl", *words], input=given, text=True, capture_output=True, check=True).stdout


def certificate(
    folder: Path, name: str, *, issuer: Pair | None = None, begins: str = _BEGINS, ends: str = _ENDS
) -> Pair:
    """A certificate for 127.0.0.1 and localhost; one of an authority if it has no issuer.

    Args:
        folder: for its files.
        name: of the files, and its common name.
        issuer: who signs it; itself if None.
        begins: when it begins to hold, `20200101000000Z`.
        ends: when it ends.
    """
    pair = Pair(folder / f"{name}.pem", folder / f"{name}.key")
    openssl("genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", "-out", pair.key)
    pair.key.chmod(0o600)
    request = folder / f"{name}.csr"
    openssl("req", "-new", "-key", pair.key, "-subj", f"/CN={name}", "-out", request)
    # `openssl x509` counts days from now; `openssl ca` takes dates, and needs files of its own.
    index, extensions = folder / f"{name}.index", folder / f"{name}.cnf"
    index.write_text("")
    (folder / f"{name}.serial").write_text(f"{abs(hash(name)) % 10**8:08d}")
    is_ca = "TRUE" if issuer is None else "FALSE"
    extensions.write_text(
        f"""
[ca]
default_ca = here
[here]
database = {index}
serial = {folder / name}.serial
new_certs_dir = {folder}
default_md = sha256
policy = any
email_in_dn = no
unique_subject = no
[any]
commonName = supplied
[ext]
basicConstraints = critical,CA:{is_ca}
subjectAltName = IP:127.0.0.1,DNS:localhost
subjectKeyIdentifier = hash
authorityKeyIdentifier = keyid:always
{"keyUsage = critical,keyCertSign,cRLSign,digitalSignature" if issuer is None else "keyUsage = digitalSignature"}
"""
    )
    signing = (
        ["-selfsign", "-keyfile", pair.key] if issuer is None else ["-cert", issuer.certificate, "-keyfile", issuer.key]
    )
    dates = ["-startdate", begins, "-enddate", ends]
    made = ["-config", extensions, "-extensions", "ext", "-in", request, "-out", pair.certificate]
    openssl("ca", "-batch", "-notext", *made, *signing, *dates)
    return pair


@cache
def authority() -> Pair:
    """An authority that all tests of a run share."""
    return certificate(Path(mkdtemp(prefix="tierwise-ca-")), "authority")
