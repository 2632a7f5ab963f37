"""TLS by files: certificate, key and an authority of clients' certificates. Read at the start and at each reload."""

from __future__ import annotations

import os
import ssl
from collections.abc import Generator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from time import time

from tierwise.spec.errors import SpecError

HANDSHAKE_SECONDS = 10.0
"""Time limit for the handshake of a connection."""
SOON_DAYS = 14
"""A certificate that ends within so many days is warned of."""

_DAY = 86_400.0
_EXPLICIT_VERSION, _UTC_TIME = 0xA0, 0x17
_PEM_END = "-----END CERTIFICATE-----"


@dataclass(frozen=True, slots=True, kw_only=True)
class TlsFiles:
    """The files that `tierwise serve` is given."""

    certificate: Path
    """PEM: the server's certificate, then those between it and its authority."""
    key: Path
    """PEM, not encrypted."""
    client_ca: Path | None = None
    """PEM: authorities; then every client must show a certificate of one of them. None if clients need none."""

    def load(self) -> Tls:
        """Read and check the files.

        Raises:
            SpecError: a file cannot be read, is not what it should be, or the key is not that of the certificate.
        """
        chain, key = _read(self.certificate, "--tls-cert"), _read(self.key, "--tls-key")
        client_ca = None if self.client_ca is None else _read(self.client_ca, "--tls-client-ca")
        context = _context(self, chain)
        begins, ends = validity(chain.decode("latin-1"))
        return Tls(files=self, context=context, chain=chain, key=key, client_ca=client_ca, begins=begins, ends=ends)


def tls_of(certificate: Path | None, key: Path | None, client_ca: Path | None) -> TlsFiles | None:
    """The files that the options of `tierwise serve` name; None if there are none.

    Raises:
        SpecError: one is missing.
    """
    if certificate is None or key is None:
        given = {"--tls-cert": certificate, "--tls-key": key, "--tls-client-ca": client_ca}
        if only := next((name for name, file in given.items() if file is not None), ""):
            missing = "--tls-cert" if certificate is None else "--tls-key"
            raise SpecError(f"{only} needs {missing} too: TLS takes a certificate and its key", field=missing)
        return None
    return TlsFiles(certificate=certificate, key=key, client_ca=client_ca)


@dataclass(frozen=True, slots=True, kw_only=True)
class Tls:
    """What was in the files."""

    files: TlsFiles
    context: ssl.SSLContext
    """Of the server, for HTTP/1.1 and TLS 1.2 or later."""
    chain: bytes
    key: bytes
    client_ca: bytes | None
    begins: float
    """When the server's certificate begins to hold, in seconds since 1970."""
    ends: float
    """When it ends."""

    def __reduce__(self) -> tuple[object, ...]:
        """For another process of this endpoint, which gets what was in the files, whatever is in them then."""
        return _as_it_was, (self.files, self.chain, self.key, self.client_ca, self.begins, self.ends)

    def problem(self, now: float | None = None) -> str:
        """Why clients refuse the certificate at this time; empty if they need not."""
        now, path = time() if now is None else now, self.files.certificate
        if now > self.ends:
            return f"the certificate in {path} expired on {_date(self.ends)}; clients refuse it until it is renewed"
        if now < self.begins:
            return f"the certificate in {path} begins to hold on {_date(self.begins)}; clients refuse it until then"
        return ""

    def warnings(self, now: float | None = None) -> list[str]:
        """What is wrong and does not keep the endpoint from being served."""
        now = time() if now is None else now
        found = [problem] if (problem := self.problem(now)) else []
        if not found and self.ends - now < SOON_DAYS * _DAY:
            found.append(f"the certificate in {self.files.certificate} expires on {_date(self.ends)}; renew it")
        if self.files.key.stat().st_mode & 0o004:
            found.append(f"every user of this machine can read the key in {self.files.key}; chmod 600 it")
        return found


def _as_it_was(files: TlsFiles, chain: bytes, key: bytes, client_ca: bytes | None, begins: float, ends: float) -> Tls:
    with ExitStack() as stack:
        read = TlsFiles(
            certificate=stack.enter_context(_in_memory(chain)),
            key=stack.enter_context(_in_memory(key)),
            client_ca=None if client_ca is None else stack.enter_context(_in_memory(client_ca)),
        )
        context = _context(read, chain)
    return Tls(files=files, context=context, chain=chain, key=key, client_ca=client_ca, begins=begins, ends=ends)


@contextmanager
def _in_memory(data: bytes) -> Generator[Path]:
    """A file on no disk: OpenSSL reads certificates of a server only from files."""
    with os.fdopen(os.memfd_create("tierwise"), "wb") as file:
        file.write(data)
        file.flush()
        yield Path(f"/proc/self/fd/{file.fileno()}")


def _context(files: TlsFiles, chain: bytes) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    if _PEM_END.encode() not in chain:
        raise SpecError(f"{files.certificate} has no certificate in PEM format", field="--tls-cert")
    try:
        context.load_cert_chain(files.certificate, files.key, password=_no_password)
    except _EncryptedError:
        raise SpecError(
            f"the key in {files.key} is encrypted; write it without a password: openssl pkey -in {files.key} -out KEY",
            field="--tls-key",
        ) from None
    except (ssl.SSLError, OSError) as error:
        raise _wrong_pair(files, error) from error
    if files.client_ca is not None:
        try:
            context.load_verify_locations(files.client_ca)
        except (ssl.SSLError, OSError) as error:
            raise SpecError(
                f"{files.client_ca} has no certificate of an authority in PEM format", field="--tls-client-ca"
            ) from error
        context.verify_mode = ssl.CERT_REQUIRED
    return context


class _EncryptedError(Exception):
    """A password was asked for."""


def _no_password() -> str:
    raise _EncryptedError


def _wrong_pair(files: TlsFiles, error: OSError) -> SpecError:
    reason = getattr(error, "reason", None) or ""
    if reason in ("KEY_VALUES_MISMATCH", "KEY_TYPE_MISMATCH"):
        return SpecError(
            f"the key in {files.key} is not that of the certificate in {files.certificate}; give the two that belong "
            "together",
            field="--tls-key",
        )
    if b"PRIVATE KEY-----" not in files.key.read_bytes():
        return SpecError(f"{files.key} has no private key in PEM format", field="--tls-key")
    said = reason.lower().replace("_", " ") or error.strerror or str(error)
    return SpecError(f"{files.certificate} and {files.key} cannot be used for TLS: {said}", field="--tls-cert")


def _read(path: Path, option: str) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise SpecError(f"{path} cannot be read: {error.strerror}", field=option) from error


def _date(moment: float) -> str:
    return datetime.fromtimestamp(moment, UTC).strftime("%Y-%m-%d %H:%M UTC")


def validity(pem: str) -> tuple[float, float]:
    """From when until when the first certificate of a PEM file holds, in seconds since 1970.

    The standard library reads these fields only of the certificates of peers. They are the fifth or fourth element of
    the signed part (RFC 5280, 4.1): version (optional), serial number, algorithm, issuer, validity.

    Raises:
        SpecError: it is not a certificate.
    """
    try:
        begin = pem.index("-----BEGIN CERTIFICATE-----")
        end = pem.index(_PEM_END, begin) + len(_PEM_END)
        whole = ssl.PEM_cert_to_DER_cert(pem[begin:end])
        signed = _elements(_elements(whole)[0][1])[0][1]
        fields = [one for one in _elements(signed) if one[0] != _EXPLICIT_VERSION]
        begins, ends = (_moment(kind, value.decode("ascii")) for kind, value in _elements(fields[3][1]))
    except (ValueError, IndexError) as error:
        raise SpecError("the certificate cannot be read", field="--tls-cert") from error
    return begins, ends


def _elements(data: bytes) -> list[tuple[int, bytes]]:
    """Tag and value of each element of DER data."""
    found, at = [], 0
    while at < len(data):
        tag, size, at = data[at], data[at + 1], at + 2
        if size >= 0x80:  # the number of bytes of the size
            count = size - 0x80
            size, at = int.from_bytes(data[at : at + count]), at + count
        found.append((tag, data[at : at + size]))
        at += size
    return found


def _moment(tag: int, text: str) -> float:
    """A time of DER: years of two digits are 1950 to 2049."""
    if tag == _UTC_TIME:
        text = f"{'19' if text[:2] >= '50' else '20'}{text}"
    return datetime.strptime(text, "%Y%m%d%H%M%SZ").replace(tzinfo=UTC).timestamp()
