"""opendkim: Debian's OpenDKIM as a verifier, with keys from a file in place of DNS."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from tests.neighbours.milter_program import running
from tests.neighbours.unbound import required

_CONFIGURATION = """\
Mode v
Socket local:{folder}/opendkim.sock
AuthservID {hostname}
AlwaysAddARHeader yes
{keys}
InternalHosts 192.0.2.255
Background no
Syslog no
UMask 007
PidFile {folder}/opendkim.pid
"""


@contextmanager
def opendkim(
    folder: Path, keys: Sequence[tuple[str, str]] | None = (), hostname: str = "mx2.example.net"
) -> Iterator[str]:
    """-> "unix:PATH" while it runs.  `keys`: ("s1._domainkey.sender.test", "v=DKIM1; p=..."); None: DNS.

    The DNS is that of 127.0.0.1: Debian's opendkim asks the root servers unless it is told whom to ask.
    """
    (folder / "keys").write_text("".join(f"{name} {record}\n" for name, record in keys or ()))
    known = "Nameservers 127.0.0.1" if keys is None else f"TestPublicKeys {folder}/keys"
    (folder / "opendkim.conf").write_text(_CONFIGURATION.format(folder=folder, hostname=hostname, keys=known))
    command = [required("opendkim"), "-f", "-x", str(folder / "opendkim.conf")]
    with running(command, f"unix:{folder}/opendkim.sock", folder / "log") as address:
        yield address
