"""Who may make a bundle: keys from the environment, or made on first use; trusted, told apart and never shown."""

from __future__ import annotations

import base64
import multiprocessing
import stat
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from core.errors import BundleError
from core.settings import Settings, read_settings
from models.bundles.signing import TrustedKeys, read_signer, read_trusted

if TYPE_CHECKING:
    from pathlib import Path

#: RFC 8032, section 7.1, test 2: secret key, public key, message and signature.
SECRET = "4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb"  # noqa: S105 - a published one
PUBLIC = "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c"
SIGNATURE = (
    "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da"
    "085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00"
)


def in_base64(digits: str) -> str:
    return base64.b64encode(bytes.fromhex(digits)).decode()


@pytest.fixture
def places(tmp_path: Path) -> Settings:
    return read_settings({"PANTHERA_STATE": str(tmp_path / "state")})


def test_a_signature_is_that_of_the_published_test_vector(places: Settings) -> None:
    signer = read_signer(replace(places, signing_key=in_base64(SECRET)))
    assert signer.public == in_base64(PUBLIC)
    assert signer.sign(b"\x72").hex() == SIGNATURE
    trusted = TrustedKeys((in_base64(PUBLIC),))
    assert trusted.verify(b"\x72", bytes.fromhex(SIGNATURE))
    assert not trusted.verify(b"\x73", bytes.fromhex(SIGNATURE))


def test_a_key_is_made_on_first_use_for_its_owner_alone_and_used_from_then_on(places: Settings) -> None:
    first = read_signer(places)
    file = places.state / "keys" / "signing"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert read_signer(places).public == first.public
    assert read_trusted(places) == TrustedKeys((first.public,))
    assert sorted(path.name for path in file.parent.iterdir()) == ["signing", "trusted"]


def _public_key(settings: Settings, found: multiprocessing.SimpleQueue[str]) -> None:
    found.put(read_signer(settings).public)


def test_processes_that_make_the_key_at_once_agree_on_one(places: Settings) -> None:
    context = multiprocessing.get_context("fork")
    found = context.SimpleQueue()
    processes = [context.Process(target=_public_key, args=(places, found)) for _ in range(8)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert {found.get() for _ in processes} == {read_signer(places).public}


def test_a_key_that_others_may_read_is_refused(places: Settings) -> None:
    read_signer(places)
    (places.state / "keys" / "signing").chmod(0o640)
    with pytest.raises(BundleError, match=r"is readable by others.*chmod 600"):
        read_signer(places)


def test_the_trusted_keys_of_the_environment_count_in_place_of_the_folders(places: Settings) -> None:
    read_signer(places)
    told = replace(places, trusted_key=f"{in_base64(PUBLIC)}, {in_base64(SECRET)}")
    assert read_trusted(told) == TrustedKeys((in_base64(PUBLIC), in_base64(SECRET)))


def test_a_signer_that_nobody_will_trust_is_refused_before_it_signs(places: Settings) -> None:
    with pytest.raises(BundleError, match="not in PANTHERA_TRUSTED_KEY"):
        read_signer(replace(places, trusted_key=in_base64(PUBLIC)))


def test_without_a_trusted_key_nothing_verifies(places: Settings) -> None:
    assert read_trusted(places) == TrustedKeys(())
    assert not TrustedKeys(()).verify(b"\x72", bytes.fromhex(SIGNATURE))


@pytest.mark.parametrize("junk", ["hunter2", base64.b64encode(b"hunter2").decode(), "hünter2" * 7])
def test_what_is_no_key_is_refused_without_being_shown(places: Settings, junk: str) -> None:
    for settings in (replace(places, signing_key=junk), replace(places, trusted_key=junk)):
        with pytest.raises(BundleError, match="not the base64 text of 32 bytes") as refused:
            read_signer(settings)
        assert junk not in str(refused.value)


def test_the_secret_is_in_nothing_that_prints(places: Settings) -> None:
    settings = replace(places, signing_key=in_base64(SECRET))
    assert in_base64(SECRET) not in f"{settings!r} {read_signer(settings)!r} {read_signer(settings)}"


def test_a_signature_of_another_length_verifies_nothing() -> None:
    for signature in (b"", b"x" * 63, b"x" * 65):
        assert not TrustedKeys((in_base64(PUBLIC),)).verify(b"\x72", signature)


def test_the_public_key_is_one_that_other_tools_read(places: Settings) -> None:
    signer = read_signer(places)
    Ed25519PublicKey.from_public_bytes(base64.b64decode(signer.public)).verify(signer.sign(b"m"), b"m")
