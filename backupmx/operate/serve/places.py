"""places: where engines and milters listen: usually, and as this machine's own service files say.

    USUAL        Debian's and FreeBSD's defaults
    services()   service files here (systemd units, rc.d and init.d scripts) of known
                 engines and milters, and of everything with "milter" in its name,
                 with the sockets that they or their configuration name
    present()    those that may be tried
    stream_limit()  what the clamd at an address takes, as its clamd.conf says

A service file is read, never run: shell is not understood, only the forms that
sockets are written in (`Socket local:...`, `-p ...`, `..._socket="..."`).  What
is not found so is found in its usual place, or by nobody.
"""

import os
import re
import stat
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Place:
    """Where a program may listen."""

    kind: str
    """engine or milter"""
    name: str
    address: str
    service: str = ""
    """The service file that led here."""


@dataclass(frozen=True, slots=True)
class Installed:
    """A service of this machine, running or not."""

    kind: str
    name: str
    file: str
    addresses: tuple[str, ...] = ()
    """As our configuration writes them; () when the file does not tell."""

    @property
    def places(self) -> tuple[Place, ...]:
        return tuple(Place(self.kind, self.name, address, self.file) for address in self.addresses)


def _at(kind: str, name: str, *addresses: str) -> Iterator[Place]:
    return (Place(kind, name, address) for address in addresses)


USUAL = (
    *_at("engine", "clamd", *(f"unix:/var/run/clamav/{name}" for name in ("clamd", "clamd.ctl", "clamd.sock"))),
    *_at("engine", "clamd", "unix:/var/run/clamd.scan/clamd.sock", "tcp:127.0.0.1:3310"),
    *_at("engine", "spamd", "tcp:127.0.0.1:783", "unix:/var/run/spamd/spamd.sock"),
    *_at("engine", "rspamd", "tcp:127.0.0.1:11333"),
    *_at("milter", "clamav-milter", "unix:/var/run/clamav/clmilter.sock", "unix:/var/run/clamav/clamav-milter.ctl",
         "unix:/var/run/clamav/clamav-milter.socket"),
    *_at("milter", "spamass-milter", "unix:/var/run/spamd/spamass.sock", "unix:/var/run/spamass-milter.sock",
         "unix:/var/run/spamass/spamass.sock", "unix:/var/spool/postfix/spamass/spamass.sock"),
    *_at("milter", "opendkim", "unix:/var/run/milteropendkim/dkim-milter", "unix:/var/run/opendkim/opendkim.sock",
         "unix:/var/spool/postfix/opendkim/opendkim.sock", "inet:127.0.0.1:8891"),
    *_at("milter", "opendmarc", "unix:/var/run/opendmarc/opendmarc.sock", "inet:127.0.0.1:8893"),
    *_at("milter", "rspamd", "inet:127.0.0.1:11332"),
    *_at("milter", "milter-manager", "unix:/var/run/milter-manager/milter-manager.sock"),
    *_at("milter", "milter-greylist", "unix:/var/run/milter-greylist/milter-greylist.sock"),
)  # fmt: skip
"""/run is /var/run."""

OUR_HEADERS = 64 << 10
"""Octets that a message may gain here: our Received, the line that tells clamd it is mail."""
_FOLDERS = (
    "etc/systemd/system", "run/systemd/system", "usr/local/lib/systemd/system", "usr/lib/systemd/system",
    "lib/systemd/system", "usr/local/etc/rc.d", "etc/rc.d", "etc/init.d",
)  # fmt: skip
_KNOWN = {
    "clamd": ("engine", "clamd"), "clamav-daemon": ("engine", "clamd"), "clamav-clamd": ("engine", "clamd"),
    "spamd": ("engine", "spamd"), "spamassassin": ("engine", "spamd"), "sa-spamd": ("engine", "spamd"),
    "rspamd": ("engine", "rspamd"), "opendkim": ("milter", "opendkim"), "milter-opendkim": ("milter", "opendkim"),
    "opendmarc": ("milter", "opendmarc"),
}  # fmt: skip
_SETTINGS = {
    "clamd": ("etc/clamav/clamd.conf", "usr/local/etc/clamd.conf", "etc/clamd.d/scan.conf"),
    "clamav-milter": ("etc/clamav/clamav-milter.conf", "usr/local/etc/clamav-milter.conf"),
    "opendkim": ("etc/opendkim.conf", "usr/local/etc/mail/opendkim.conf"),
    "opendmarc": ("etc/opendmarc.conf", "usr/local/etc/mail/opendmarc.conf"),
    "milter-greylist": ("etc/milter-greylist/greylist.conf", "usr/local/etc/mail/greylist.conf"),
}
_LONGEST = 256 << 10
# Of a line that is no comment: a setting, an option, a variable.
_SOCKETS = re.compile(
    r"""^[^#\n]*?(?:
        (?<![\w-])(?:Local|Milter)?Socket[ \t]+          # clamd, clamav-milter, opendkim, opendmarc
      | (?<![\w-])socket[ \t]+(?=["'])                   # milter-greylist
      | (?<![\w-])-p[ \t]*(?=["']?(?:/|local:|unix:|inet:|\d+@))
      | \w*(?:socket|SOCKET)(?:=\$\{\w+:-|:?=)           # rc.conf, rc.d, /etc/default
      )["']?([^\s"'}]+)""",
    re.MULTILINE | re.VERBOSE,
)
_STREAM = re.compile(r"^[ \t]*StreamMaxLength[ \t]+(\d{1,18})([KMG]?)[ \t]*$", re.MULTILINE | re.IGNORECASE)
_STREAM_DEFAULT = 100 << 20
"""ClamAV's own, since 1.0."""
_TCP = re.compile(r"^[ \t]*TCPSocket[ \t]+(\d{1,5})", re.MULTILINE)


def services(root: Path = Path("/")) -> list[Installed]:
    """The services of this machine; of one name the first file, its sockets from all that speaks of them."""
    found: dict[tuple[str, str], Installed] = {}
    for folder in _FOLDERS:
        for file in sorted(_files(root / folder)):
            kind, name = _which(file)
            if kind and (kind, name) not in found:
                found[kind, name] = _installed(root, kind, name, file)
    return list(found.values())


def present(places: Iterable[Place]) -> list[Place]:
    """Those whose socket is there; of TCP all.  To be asked before root is given up: folders may be closed."""
    return [place for place in places if place.address[:5] != "unix:" or _is_socket(place.address[5:])]


@dataclass(frozen=True, slots=True)
class StreamLimit:
    """What a clamd takes over its socket."""

    octets: int
    file: str
    """Which says so, or does not say otherwise."""


def stream_limit(address: str, root: Path = Path("/")) -> StreamLimit | None:
    """Of the clamd that listens there; None: no clamd.conf of this machine names this address."""
    for name in _SETTINGS["clamd"]:
        text = _text(root / name)
        if any(_same(address, other) for other in told("engine", text)):
            said = _STREAM.findall(text)
            scale = {"": 0, "K": 10, "M": 20, "G": 30}
            octets = int(said[-1][0]) << scale[said[-1][1].upper()] if said else _STREAM_DEFAULT
            return StreamLimit(octets, f"/{name}")
    return None


def _same(address: str, other: str) -> bool:
    if address[:5] == other[:5] == "unix:":
        return os.path.realpath(address[5:]) == os.path.realpath(other[5:])
    return address.replace("localhost", "127.0.0.1") == other


def _is_socket(path: str) -> bool:
    try:
        return stat.S_ISSOCK(os.stat(path).st_mode)
    except OSError:
        return False


def _files(folder: Path) -> list[Path]:
    try:
        return [path for path in folder.iterdir() if path.suffix in ("", ".service", ".sh")]
    except OSError:
        return []


def _which(file: Path) -> tuple[str, str]:
    """Kind and name by the name of its service file; "" for what is none of ours."""
    name = file.name.removesuffix(".service").removesuffix(".sh").replace("_", "-").partition("@")[0]
    if name in _KNOWN:
        return _KNOWN[name]
    return ("milter", name) if "milter" in name else ("", name)


def _installed(root: Path, kind: str, name: str, file: Path) -> Installed:
    service = file.name.removesuffix(".service")
    others = (*_SETTINGS.get(name, ()), f"etc/default/{service}", f"etc/rc.conf.d/{service}")
    texts = [_text(root / other) for other in others]
    variable = service.replace("-", "_")
    texts += [line for line in _text(root / "etc/rc.conf").splitlines() if line.lstrip().startswith(variable)]
    texts.append(_text(file))
    addresses = dict.fromkeys(address for text in texts for address in told(kind, text))
    return Installed(kind, name, str(file), tuple(addresses))


def told(kind: str, text: str) -> Iterator[str]:
    """Pure.  The sockets that a service or configuration file names, as ours would."""
    variables = dict(re.findall(r'^(\w+)="?([^\s"$]*)"?[ \t]*$', text, re.MULTILINE))
    for match in _SOCKETS.finditer(text):
        spec = re.sub(r"\$\{?(\w+)\}?", lambda m: variables.get(m[1], m[0]), match[1])
        if address := _address(kind, spec):
            yield address
    if kind == "engine":
        yield from (f"tcp:127.0.0.1:{match[1]}" for match in _TCP.finditer(text))


def _address(kind: str, spec: str) -> str:
    """Pure.  libmilter's "local:PATH", "inet:PORT@HOST" and a bare path -> ours; "" for what is none."""
    if "$" in spec:
        return ""
    word, _, rest = spec.partition(":")
    if spec.startswith("/") or (word in ("local", "unix") and rest.startswith("/")):
        return f"unix:{spec if spec.startswith('/') else rest}"
    if word in ("inet", "inet6") and kind == "milter":
        port, _, host = rest.partition("@")
        host = host.strip("[]") or "127.0.0.1"
        return f"inet:{host}:{port}" if port.isdigit() else ""
    return ""


def _text(path: Path) -> str:
    try:
        with path.open("rb") as stream:
            return stream.read(_LONGEST).decode("utf-8", "replace")
    except OSError:
        return ""
