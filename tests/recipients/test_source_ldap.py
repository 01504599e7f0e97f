"""A directory's people, with Debian's slapd."""

import contextlib
import os
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import trustme

from backupmx.recipients.source import SourceTrouble
from backupmx.recipients.source_ldap import LdapSource
from tests.neighbours.slapd import ADMIN, PASSWORD, SUFFIX, people, slapd

pytestmark = pytest.mark.neighbours
if os.environ.get("BACKUPMX_NEIGHBOURS") != "required":
    pytest.importorskip("bonsai")

PEOPLE = [
    ["Taro@example.jp", "taro.yamada@example.jp"],
    ["hanako@example.jp"],
    ["else@elsewhere.test"],
    ["list@example.jp"],
]


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, Path]:
    folder = tmp_path_factory.mktemp("pem")
    authority = trustme.CA()
    paths = folder / "ca.pem", folder / "key.pem", folder / "chain.pem"
    authority.cert_pem.write_to_path(paths[0])
    certificate = authority.issue_cert("127.0.0.1", "localhost")
    certificate.private_key_pem.write_to_path(paths[1])
    paths[2].write_bytes(b"".join(blob.bytes() for blob in certificate.cert_chain_pems))
    return paths


@pytest.fixture(scope="module")
def port(tmp_path_factory: pytest.TempPathFactory, certificates: tuple[Path, Path, Path]) -> Iterator[int]:
    _, key, chain = certificates
    many = [[f"user{n}@large.example.jp"] for n in range(1200)]
    with slapd(tmp_path_factory.mktemp("ldap") / "s", people([*PEOPLE, *many]), key=key, chain=chain) as port:
        yield port


def source(port: int, **settings: object) -> LdapSource:
    given = {"name": "ldap", "url": f"ldap://127.0.0.1:{port}", "base": SUFFIX, "domains": ("example.jp",)}
    return LdapSource(**{**given, **settings})  # type: ignore[arg-type]


def test_people_of_our_domain(port: int) -> None:
    """Every value of the attribute counts, folded; other domains' are left and counted."""
    fetched = source(port, filter="(!(mail=*@large.example.jp))").fetch()
    expected = {"taro@example.jp", "taro.yamada@example.jp", "hanako@example.jp", "list@example.jp"}
    assert expected == fetched.addresses
    assert fetched.elsewhere == 1


def test_lists_have_their_request_addresses(port: int) -> None:
    """A list manager's list exists with its -ctl, -request and the like."""
    fetched = source(port, filter="(mail=list@*)", suffixes=("-ctl", "-request")).fetch()
    assert fetched.addresses == {"list@example.jp", "list-ctl@example.jp", "list-request@example.jp"}


def test_more_than_the_server_gives_anybody(port: int) -> None:
    """A list that the directory's size limit cuts short is refused."""
    with pytest.raises(SourceTrouble, match=r"(?i)size limit.*bind_dn"):
        source(port, domains=("large.example.jp",)).fetch()


def test_bound_and_over_tls(port: int, tmp_path: Path, certificates: tuple[Path, Path, Path]) -> None:
    """With STARTTLS, a certificate that is verified, and a bind whose limits allow it, a large one is read by pages."""
    (tmp_path / "password").write_text(PASSWORD + "\n")
    given = {"starttls": True, "ca_file": certificates[0], "bind_dn": ADMIN, "password_file": tmp_path / "password"}
    assert len(source(port, domains=("large.example.jp",), **given).fetch().addresses) == 1200


def test_a_strange_certificate(port: int) -> None:
    """A directory that nobody we know has signed for is not asked."""
    with pytest.raises(SourceTrouble, match=r"ldap: ldap://127\.0\.0\.1"):
        source(port, starttls=True).fetch()


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"base": "dc=nowhere"}, "object"),
        ({"filter": "(mail=*"}, "filter"),
        ({"url": "ldap://127.0.0.1:1"}, "contact|connect"),
        ({"bind_dn": ADMIN, "password_file": Path("/nonexistent")}, "/nonexistent: No such file"),
        ({"filter": "(cn=p1)", "attributes": ("cn",)}, "line 1: 'p1': an address is local-part@domain"),
    ],
)
def test_trouble(port: int, settings: dict[str, object], words: str) -> None:
    """What cannot be had is one sentence, and no list."""
    with pytest.raises(SourceTrouble, match=f"(?i){words}"):
        source(port, **settings).fetch()


def test_a_part_that_is_elsewhere(tmp_path: Path) -> None:
    """A referral is not followed, and without that part the list is none."""
    elsewhere = (
        f"\ndn: ou=sub,{SUFFIX}\nobjectClass: referral\nobjectClass: extensibleObject\nou: sub\n"
        f"ref: ldap://127.0.0.1:1/ou=sub,{SUFFIX}\n"
    )
    with (
        slapd(tmp_path, people([["a@example.jp"]]) + elsewhere) as port,
        pytest.raises(SourceTrouble, match=r"a part is at ldap://127\.0\.0\.1:1/ou=sub"),
    ):
        source(port).fetch()


@pytest.mark.parametrize("says", ["nothing", "yes", "entries"])
def test_a_directory_that_stalls(says: str) -> None:
    """One that takes the connection and says nothing, nothing after the bind, or one entry after the other."""
    with stalling(says) as port, pytest.raises(SourceTrouble, match=r"Timed out"):
        LdapSource("people", f"ldap://127.0.0.1:{port}", SUFFIX, timeout=0.5).fetch()


@contextmanager
def stalling(says: str) -> Iterator[int]:
    """No slapd does this when it is asked to."""

    def dialogue(client: socket.socket) -> None:
        with client, contextlib.suppress(OSError, IndexError):  # it hangs up when it likes
            bind = client.recv(4096)
            if says == "nothing":
                stop.wait()
            client.sendall(_ber(0x30, _ber(2, bind[4:5]) + _ber(0x61, _ber(10, b"\0") + _ber(4, b"") + _ber(4, b""))))
            search = client.recv(4096)
            message = search[4:5] if search[1] < 128 else search[6:7]
            mail = _ber(0x30, _ber(0x30, _ber(4, b"mail") + _ber(0x31, _ber(4, b"a@example.jp"))))
            while not stop.wait(0.05):
                if says == "entries":
                    client.sendall(_ber(0x30, _ber(2, message) + _ber(0x64, _ber(4, b"cn=p") + mail)))

    def serve() -> None:
        with contextlib.suppress(OSError):
            dialogue(listening.accept()[0])

    stop = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield listening.getsockname()[1]
        finally:
            stop.set()
            thread.join()


def _ber(tag: int, content: bytes) -> bytes:
    return bytes((tag, len(content))) + content


def test_a_wrong_password(port: int, tmp_path: Path) -> None:
    """The directory says no; the list is not had."""
    (tmp_path / "password").write_text("wrong")
    with pytest.raises(SourceTrouble, match=r"(?i)credentials"):
        source(port, bind_dn=ADMIN, password_file=tmp_path / "password").fetch()
