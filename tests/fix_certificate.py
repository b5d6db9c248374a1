"""A self-signed certificate of the loopback interface, and its key, as PEM files."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address
from typing import TYPE_CHECKING

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    KeySerializationEncryption,
    NoEncryption,
    PrivateFormat,
)

if TYPE_CHECKING:
    from pathlib import Path


@dataclass(frozen=True)
class CertificateFiles:
    """The certificate, its key, and the same key with a passphrase."""

    certificate: Path
    key: Path
    encrypted_key: Path


def write_certificate(folder: Path, name: str = "own") -> CertificateFiles:
    """Write a new certificate of 127.0.0.1 and localhost, and its key, to `folder`."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(UTC)
    names = x509.SubjectAlternativeName([x509.DNSName("localhost"), x509.IPAddress(IPv4Address("127.0.0.1"))])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(names, critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    files = CertificateFiles(folder / f"{name}.crt", folder / f"{name}.key", folder / f"{name}.encrypted")
    files.certificate.write_bytes(certificate.public_bytes(Encoding.PEM))
    encryptions: dict[Path, KeySerializationEncryption] = {
        files.key: NoEncryption(),
        files.encrypted_key: BestAvailableEncryption(b"secret"),
    }
    for path, encryption in encryptions.items():
        path.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption))
    return files
