"""tls: the certificates we show to clients, chosen by the name they ask for.

`ServerTls.context()` is asked at each STARTTLS.  It looks at the files at most
once a second and reads them again when they have changed, so a renewed
certificate is in use without a reload.  Files that cannot be used any more
leave the old certificates in force, loudly.

    tls_chain_files   PEM files, each private key followed by its certificate
                      chain, in one file or in two (smtpd_tls_chain_files);
                      several keys of different kinds may follow each other
    tls_sni_map       "NAME KEY-FILE CHAIN-FILE" a line; ".example.net" is all
                      names below it (tls_server_sni_maps); paths are relative
                      to the map's folder

Trouble
    TlsTrouble   at start or reload: every error at once, with file and remedy.

TLS 1.2 and 1.3, ciphers as Python and OpenSSL choose them.  Who speaks less
comes in clear, which is no worse (RFC 7435).

Tickets are OpenSSL's, stateless, under keys that each context makes for itself.
Contexts that are made before a fork share theirs, so a client may resume at any
worker; `kept` spares them a reload that changes no file.  New certificates are
new contexts and end all tickets, and no other program has our keys.  After a
renewal each worker has keys of its own until the appliance is restarted: a
ticket that meets another worker costs a whole handshake, a millisecond.  (A way
to share keys Python does not offer.)  Within one appliance a ticket holds for
all names, as nothing but the certificate depends on the name.

Standards: RFC 3207; RFC 5077 and 8446 section 4.6.1 (tickets); RFC 6066 section 3 (SNI).
"""

import re
import ssl
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from backupmx.config.home import unreadable
from backupmx.net.tls_keys import counted

_KEY = b"PRIVATE KEY-----"
_CERTIFICATE = b"-----BEGIN CERTIFICATE-----"
_ENCRYPTED = re.compile(rb"BEGIN ENCRYPTED|^Proc-Type: *4, *ENCRYPTED", re.MULTILINE)  # OpenSSL would ask for it
_LOOK_EVERY = 1.0

Stamp = tuple[tuple[str, int, int, int], ...]


class TlsTrouble(Exception):
    """Certificates that cannot be used.  `errors` are sentences: "FILE: what, and what to do"."""

    def __init__(self, errors: Sequence[str]) -> None:
        super().__init__("\n".join(errors))
        self.errors = tuple(errors)


class ServerTls:
    """Contexts by name, as fresh as the files.  Raises TlsTrouble at birth."""

    def __init__(
        self,
        chain_files: Sequence[Path],
        sni_map: Path | None = None,
        *,
        troubled: Callable[[str], object] = print,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._chain_files = tuple(chain_files)
        self._sni_map = sni_map
        self.troubled = troubled
        """Is told when changed files cannot be used (journal.warned)."""
        self._clock = clock
        self._names: Mapping[str, ssl.SSLContext] = {}
        self._files: tuple[Path, ...] = ()
        self._context = self._load()
        self._stamp = _stamp(self._files)
        self._looked = clock()

    def context(self) -> ssl.SSLContext:
        now = self._clock()
        if now - self._looked >= _LOOK_EVERY:
            self._looked = now
            stamp = _stamp(self._files)
            if stamp != self._stamp:
                self._stamp = stamp
                self._refresh()
        return self._context

    def _refresh(self) -> None:
        try:
            self._context = self._load()
            self._stamp = _stamp(self._files)
        except TlsTrouble as trouble:
            for error in trouble.errors:
                self.troubled(f"the old certificates stay in use: {error}")

    def same(self, other: "ServerTls") -> bool:
        """Of the same files, as they were then."""
        return (self._chain_files, self._sni_map, self._stamp) == (other._chain_files, other._sni_map, other._stamp)

    def _load(self) -> ssl.SSLContext:
        """All of it or nothing."""
        errors: list[str] = []
        context = _context(self._chain_files, errors)
        entries = read_sni_map(self._sni_map, errors) if self._sni_map else {}
        names = {name: _context(files, errors) for name, files in entries.items()}
        if errors:
            raise TlsTrouble(errors)
        self._names = names
        maps = (self._sni_map,) if self._sni_map else ()
        self._files = (*self._chain_files, *maps, *(file for files in entries.values() for file in files))
        context.sni_callback = self._choose
        return counted(context)  # of a connection that SNI moves to another this one's callbacks stay

    def _choose(self, connection: ssl.SSLObject | ssl.SSLSocket, name: str | None, _: ssl.SSLContext) -> None:
        """Longest name first, as Postfix looks it up: the host, then its parents with a dot."""
        for key in _keys((name or "").lower()):
            if found := self._names.get(key):
                connection.context = found
                return


def kept(old: ServerTls | None, new: ServerTls | None) -> ServerTls | None:
    """What to go on with after a reload: `old` where `new` says the same, so that its tickets stay good."""
    return old if old and new and old.same(new) else new


def read_sni_map(path: Path, errors: list[str]) -> dict[str, tuple[Path, ...]]:
    """Name -> its files.  What is wrong goes to `errors`."""
    try:
        text = path.read_text("utf-8", "replace")
    except OSError as error:
        errors.append(f"{path}: {unreadable(error)}")
        return {}
    entries: dict[str, tuple[Path, ...]] = {}
    for number, line in enumerate(text.splitlines(), 1):
        words = line.replace(",", " ").split()
        if not words or words[0].startswith("#"):
            continue
        if len(words) < 2 or "/" in words[0]:
            errors.append(f'{path}:{number}: write "NAME KEY-FILE CHAIN-FILE"')
            continue
        entries.setdefault(words[0].lower(), tuple(path.parent / word for word in words[1:]))
    return entries


def _keys(name: str) -> Iterator[str]:
    yield name
    while "." in name:
        name = name.partition(".")[2]
        yield f".{name}"


def _context(files: Sequence[Path], errors: list[str]) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2  # RFC 8996, whatever openssl.cnf says
    context.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_CIPHER_SERVER_PREFERENCE
    pairs = _pairs(files, errors)
    for key, chain in pairs:
        try:
            context.load_cert_chain(chain, key)
        except ssl.SSLError as error:
            errors.append(f"{chain}: {_remedy(error, key)}")
        except OSError as error:
            errors.append(f"{error.filename or chain}: {unreadable(error)}")
    return context


def _pairs(files: Sequence[Path], errors: list[str]) -> list[tuple[Path, Path]]:
    """-> (key file, chain file), in order."""
    pairs: list[tuple[Path, Path]] = []
    key: Path | None = None
    for file in files:
        try:
            text = file.read_bytes()
        except OSError as error:
            errors.append(f"{file}: {unreadable(error)}")
            return []
        if _KEY in text:
            key = file
        if _ENCRYPTED.search(text):
            errors.append(f"{file}: the key has a password; store it without one")
            return []
        if _CERTIFICATE in text and key is not None:
            pairs.append((key, file))
            key = None
        elif _CERTIFICATE in text or _KEY not in text:
            errors.append(f"{file}: no private key comes before it; name the key first, then its chain")
            return []
    if key is not None:
        errors.append(f"{key}: no certificate follows this key; name its chain after it")
    return pairs


def _remedy(error: ssl.SSLError, key: Path) -> str:
    match error.reason:
        case "KEY_VALUES_MISMATCH":
            return f"its first certificate is not for the key in {key}; put the server's own certificate first"
        case reason:
            return f"OpenSSL says {reason or error}; is it PEM, complete and undamaged?"


def _stamp(files: Sequence[Path]) -> Stamp:
    """What changes when a file does: Let's Encrypt moves a link, others rename or rewrite."""
    return tuple(_identity(file) for file in files)


def _identity(file: Path) -> tuple[str, int, int, int]:
    try:
        found = file.stat()
    except OSError:
        return str(file), 0, 0, 0
    return str(file), found.st_ino, found.st_size, found.st_mtime_ns
