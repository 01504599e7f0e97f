"""Certificates: chosen by name, read again when they change."""

import os
import ssl
from pathlib import Path

import pytest
import trustme

from backupmx.net.tls import ServerTls, TlsTrouble


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


def write(authority: trustme.CA, folder: Path, name: str) -> list[Path]:
    """A key file and a chain file for a name."""
    issued = authority.issue_cert(name)
    key, chain = folder / f"{name}.key", folder / f"{name}.pem"
    issued.private_key_pem.write_to_path(str(key))
    chain.write_bytes(b"".join(pem.bytes() for pem in issued.cert_chain_pems))
    return [key, chain]


def shown(server: ServerTls, authority: trustme.CA, asked: str | None) -> tuple[str, int]:
    """The name and serial number on the certificate a client gets that asks for `asked`."""
    context = ssl.create_default_context()
    authority.configure_trust(context)
    context.check_hostname = False
    pipes = [ssl.MemoryBIO() for _ in range(4)]
    client = context.wrap_bio(pipes[0], pipes[1], server_hostname=asked)
    ours = server.context().wrap_bio(pipes[2], pipes[3], server_side=True)
    for _ in range(6):
        for side in (client, ours):
            try:
                side.do_handshake()
            except ssl.SSLWantReadError:
                pass
        pipes[2].write(pipes[1].read())
        pipes[0].write(pipes[3].read())
    certificate = client.getpeercert() or {}
    return certificate["subjectAltName"][0][1], int(certificate["serialNumber"], 16)


def test_key_and_chain_in_two_files(authority: trustme.CA, tmp_path: Path) -> None:
    """tls_chain_files as certbot leaves them."""
    server = ServerTls(write(authority, tmp_path, "mx2.example.net"))
    assert shown(server, authority, None)[0] == "mx2.example.net"


def test_names(authority: trustme.CA, tmp_path: Path) -> None:
    """The client's name chooses: exact before a parent with a dot; others get the default."""
    chain = write(authority, tmp_path, "mx2.example.net")
    for name in ("mx.example.jp", "mx.example.org"):
        write(authority, tmp_path, name)
    sni = tmp_path / "tls_sni.map"
    sni.write_text(
        "# names\nMX.example.jp mx.example.jp.key mx.example.jp.pem\n"
        ".example.org\tmx.example.org.key, mx.example.org.pem\n"
    )
    server = ServerTls(chain, sni)
    asked = ("mx.example.jp", "a.b.example.org", "example.org", "other.example", None)
    actual = [shown(server, authority, name)[0] for name in asked]
    default = "mx2.example.net"
    assert actual == ["mx.example.jp", "mx.example.org", default, default, default]


def test_renewal(authority: trustme.CA, tmp_path: Path) -> None:
    """A renewed certificate is in use a second later, without a reload."""
    now = [0.0]
    server = ServerTls(write(authority, tmp_path, "mx2.example.net"), clock=lambda: now[0])
    first = shown(server, authority, None)
    write(authority, tmp_path, "mx2.example.net")
    assert shown(server, authority, None) == first
    now[0] = 1.5
    renewed = shown(server, authority, None)
    assert renewed[1] != first[1]


def test_renewal_of_a_name(authority: trustme.CA, tmp_path: Path) -> None:
    """The same for names, and for a line that comes new into the map."""
    now = [0.0]
    sni = tmp_path / "tls_sni.map"
    sni.write_text("")
    server = ServerTls(write(authority, tmp_path, "mx2.example.net"), sni, clock=lambda: now[0])
    write(authority, tmp_path, "mx.example.jp")
    sni.write_text("mx.example.jp mx.example.jp.key mx.example.jp.pem\n")
    now[0] = 2.0
    first = shown(server, authority, "mx.example.jp")
    assert first[0] == "mx.example.jp"
    write(authority, tmp_path, "mx.example.jp")
    now[0] = 4.0
    assert shown(server, authority, "mx.example.jp")[1] != first[1]


def test_a_renewal_that_went_wrong(authority: trustme.CA, tmp_path: Path) -> None:
    """The old certificate stays in use, loudly, until the files are right again."""
    now, said = [0.0], []
    key, chain = write(authority, tmp_path, "mx2.example.net")
    server = ServerTls([key, chain], clock=lambda: now[0], troubled=said.append)
    first = shown(server, authority, None)
    chain.write_text("half a fi")
    now[0] = 2.0
    assert shown(server, authority, None) == first
    expected = f"the old certificates stay in use: {key}: no certificate follows this key; name its chain after it"
    assert said == [f"the old certificates stay in use: {chain}: {WRONG_ORDER}"] or said == [expected]
    now[0] = 4.0
    shown(server, authority, None)
    assert len(said) == 1
    write(authority, tmp_path, "mx2.example.net")
    now[0] = 6.0
    assert shown(server, authority, None)[1] != first[1]


WRONG_ORDER = "no private key comes before it; name the key first, then its chain"


def test_all_errors_at_once(authority: trustme.CA, tmp_path: Path) -> None:
    """Every file that cannot be used is named, with what to do."""
    key, chain = write(authority, tmp_path, "a.example")
    _, other = write(authority, tmp_path, "b.example")
    garbage = tmp_path / "garbage.pem"
    garbage.write_text("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")
    sni = tmp_path / "sni"
    sni.write_text(f"x.example\ny.example {key} {garbage}\nz.example {key} missing.pem\nw.example {chain} {key}\n")
    with pytest.raises(TlsTrouble) as trouble:
        ServerTls([key, other], sni)
    errors = trouble.value.errors
    assert (
        f"{other}: its first certificate is not for the key in {key}; put the server's own certificate first" in errors
    )
    assert f'{sni}:1: write "NAME KEY-FILE CHAIN-FILE"' in errors
    assert any(error.startswith(f"{garbage}: OpenSSL says ") for error in errors)
    assert f"{tmp_path / 'missing.pem'}: No such file or directory" in errors
    assert f"{chain}: {WRONG_ORDER}" in errors
    assert len(errors) == 5


def test_a_key_with_a_password(authority: trustme.CA, tmp_path: Path) -> None:
    """Nobody is asked for it on the terminal."""
    key, chain = write(authority, tmp_path, "a.example")
    from cryptography.hazmat.primitives import serialization as pem

    private = pem.load_pem_private_key(key.read_bytes(), None)
    key.write_bytes(
        private.private_bytes(pem.Encoding.PEM, pem.PrivateFormat.PKCS8, pem.BestAvailableEncryption(b"secret"))
    )
    with pytest.raises(TlsTrouble, match="has a password; store it without one"):
        ServerTls([key, chain])


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_an_unreadable_file(authority: trustme.CA, tmp_path: Path) -> None:
    """Permissions are named as what they are."""
    key, chain = write(authority, tmp_path, "a.example")
    key.chmod(0)
    with pytest.raises(TlsTrouble, match="Permission denied"):
        ServerTls([key, chain])
