"""slapd: Debian's OpenLDAP server with people that a test wrote, on a loopback port of its own.

dc=example,dc=jp            the suffix; cn=admin,dc=example,dc=jp / "secret" may do everything,
                            anybody may read
size limit                  as OpenLDAP's own, 500 entries a search, 500 a page
"""

import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from tests.neighbours.unbound import free_port, required

SUFFIX = "dc=example,dc=jp"
ADMIN, PASSWORD = f"cn=admin,{SUFFIX}", "secret"
_CONFIGURATION = """\
include /etc/ldap/schema/core.schema
include /etc/ldap/schema/cosine.schema
include /etc/ldap/schema/inetorgperson.schema
modulepath /usr/lib/ldap
moduleload back_mdb
pidfile {folder}/pid
argsfile {folder}/args
sizelimit 500
{tls}
database mdb
maxsize 1073741824
suffix "{suffix}"
rootdn "{admin}"
rootpw {password}
directory {folder}/data
access to * by * read
"""


def people(mails: Sequence[Sequence[str]]) -> str:
    """LDIF: a person for each list of addresses."""
    entries = [f"dn: {SUFFIX}\nobjectClass: dcObject\nobjectClass: organization\no: example\ndc: example\n"]
    for number, addresses in enumerate(mails):
        values = "".join(f"mail: {address}\n" for address in addresses)
        entries.append(f"dn: cn=p{number},{SUFFIX}\nobjectClass: inetOrgPerson\ncn: p{number}\nsn: p\n{values}")
    return "\n".join(entries)


@contextmanager
def slapd(folder: Path, ldif: str, *, key: Path | None = None, chain: Path | None = None) -> Iterator[int]:
    """-> its port while it runs.  `key`, `chain`: PEM files, for STARTTLS."""
    program = required("slapd")
    (folder / "data").mkdir(parents=True)
    tls = f"TLSCertificateFile {chain}\nTLSCertificateKeyFile {key}" if key else ""
    configuration = folder / "slapd.conf"
    configuration.write_text(
        _CONFIGURATION.format(folder=folder, suffix=SUFFIX, admin=ADMIN, password=PASSWORD, tls=tls)
    )
    (folder / "people.ldif").write_text(ldif)
    subprocess.run(
        [required("slapadd"), "-q", "-f", configuration, "-l", folder / "people.ldif"], check=True, capture_output=True
    )
    port = free_port()
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [program, "-f", configuration, "-h", f"ldap://127.0.0.1:{port}", "-d", "0"], stdout=log, stderr=log
        )
    try:
        _wait(port, process, folder)
        yield port
    finally:
        process.terminate()
        process.wait(20)


def _wait(port: int, process: "subprocess.Popen[bytes]", folder: Path) -> None:
    import socket

    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        assert process.poll() is None, (folder / "log").read_text()
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
        except OSError:
            time.sleep(0.02)
        else:
            return
    raise AssertionError("slapd does not listen")
