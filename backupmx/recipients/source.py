"""Pure.  source: a list of addresses, wherever it comes from, as its lines are read.

    source_command   a program that prints it      ─┐
    source_ldap      a directory                    ├─► Fetched ─► sync
    recipients import   a file, once               ─┘

A line is an address, "user@example.jp", or a whole domain, "@example.jp"; what
follows a blank is not looked at, so a virtual alias map is a list too: lines
that continue it and its "example.jp anything" are passed over, as are empty
lines and those that begin with `#`.  Keys are folded to lower case.  Addresses
of other domains than the source's own are counted and left: a directory often
holds more than what is ours.

Trouble
    SourceTrouble   the list cannot be had, or it has a line that is no
                    address.  None of it is used: a list with a hole in it
                    refuses people who exist.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from threading import Event
from typing import Protocol

from backupmx.mail.address import Malformed, check, domain_of, folded
from backupmx.recipients.known import beside, split

NEVER = Event()
"""Nobody gives up."""
MOST = 2_000_000
"""Addresses of one list."""
_MOST_WRONG = 1000


class SourceTrouble(Exception):
    """The list cannot be had now.  The text says why and what to look at."""


@dataclass(frozen=True, slots=True)
class Fetched:
    """One list, whole."""

    addresses: frozenset[str]
    """Folded: "user@example.jp", "@example.jp"."""
    elsewhere: int = 0
    """Addresses of other domains, left out."""


class Source(Protocol):
    """Where a list comes from.  `fetch` may take `timeout` seconds: not for an event loop's own thread."""

    @property
    def name(self) -> str: ...

    @property
    def domains(self) -> tuple[str, ...]:
        """Whose whole list it is; () for every relay domain."""
        ...

    @property
    def every(self) -> float:
        """Seconds between two fetches; 0: only when asked to."""
        ...

    def fetch(self, given_up: Event = NEVER) -> Fetched:
        """Raises SourceTrouble, also soon after nobody waits for it any more."""
        ...


def read(lines: Iterable[str], name: str, domains: Sequence[str] = (), suffixes: Sequence[str] = ()) -> Fetched:
    """The list in these lines.  `suffixes`: for each local part others that exist beside it (a list's "-request").

    Raises SourceTrouble, with the first three lines that are no addresses.
    """
    addresses: set[str] = set()
    seen: set[str] = set()
    more = False
    elsewhere = 0
    wrong: list[tuple[str, str]] = []
    ours = frozenset(domains)
    for number, line in enumerate(lines, 1):
        continues = more and line[:1] in (" ", "\t")
        key, value = split(line.replace("\t", " "))
        if not key or key.startswith("#") or continues:
            continue
        more = bool(value)
        key = folded(key)
        seen.add(domain_of(key))
        if problem := _wrong_with(key):
            wrong.append((key, f"{name}: line {number}: {key[:80]!r}: {problem}"))
        elif ours and domain_of(key) not in ours:
            elsewhere += 1
        else:
            addresses.update(with_suffixes(key, suffixes))
        if len(wrong) >= _MOST_WRONG:
            break
        if len(addresses) > MOST:
            raise SourceTrouble(f"{name}: more than {MOST} addresses; is this a list of people?")
    if wrong and (left := beside(wrong, seen - {""})):
        raise SourceTrouble("; ".join(left[:3]) + '; a line is "user@domain" or "@domain"')
    return Fetched(frozenset(addresses), elsewhere)


def with_suffixes(address: str, suffixes: Sequence[str]) -> Iterable[str]:
    """fml8 and other list managers: list@d is also list-ctl@d, list-request@d, ..."""
    yield address
    local, _, domain = address.rpartition("@")
    if local:
        for suffix in suffixes:
            yield f"{local}{suffix}@{domain}"


def _wrong_with(key: str) -> str:
    try:
        check(f"x{key}" if key.startswith("@") else key)
    except Malformed as error:
        return str(error)
    return ""
