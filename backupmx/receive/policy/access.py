"""Pure.  access: the operator's own list of clients, smtp.client_access.

    # network          action                      first match wins
    192.0.2.7          OK                          nothing is held against it: no other client policy
    192.0.2.0/24       REJECT we know you          554 5.7.1
    198.51.100.0/24    DEFER                       450 4.7.1
    2001:db8::/32      450 4.7.1 not today         any 4xx or 5xx, with or without an enhanced code
    203.0.113.0/24     DUNNO                       as if it were not listed

The syntax of Postfix's cidr_table(5) and the actions of access(5): what
check_client_access cidr:FILE reads is read here.  A line that begins with a
blank continues the one before it, # begins a comment.

Trouble
    AccessTrouble   every line that cannot be used, with what to write instead.

Why no host names, as access(5) has them?  Whoever owns an address chooses its
name, and the name may not be there when it is needed; a network is certain.

A lookup costs a dictionary's for each length of prefix in the file, whatever
the number of lines.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from ipaddress import IPv4Network, IPv6Network, ip_network
from socket import AF_INET, AF_INET6, inet_pton

from backupmx.mail.reply import Reply

_CODE = re.compile(r"([45]\d\d)(?:\s+([45]\.\d{1,3}\.\d{1,3}))?(?:\s+(.*))?")
_WORDS = {"REJECT": ("554", "5.7.1"), "DEFER": ("450", "4.7.1")}
_MOST_KNOWN = 4096

_Networks = dict[int, "Entry"]


class AccessTrouble(ValueError):
    """Lines that cannot be used."""

    def __init__(self, errors: Sequence[str]) -> None:
        super().__init__("\n".join(errors))
        self.errors = tuple(errors)


@dataclass(frozen=True, slots=True)
class Entry:
    """One line."""

    where: str
    """"client_access:3"."""
    action: str
    """OK, DUNNO, or REFUSE."""
    code: int = 0
    status: str = ""
    text: str = ""

    def reply(self, client: str) -> Reply:
        """To NAME[ADDRESS], in the words of check_client_access."""
        return Reply(self.code, self.status, f"<{client}>: Client host rejected: {self.text or 'Access denied'}")


@dataclass(frozen=True, slots=True)
class Access:
    """The whole list.  Its memory of who asked is bounded."""

    tables: tuple[tuple[int, int, _Networks], ...] = ()
    """For each address family and shift: the networks of that size, as numbers, and their lines."""
    order: dict[str, int] = field(default_factory=dict)
    """Which line comes first."""
    _known: dict[str, Entry | None] = field(default_factory=dict, compare=False)

    def lookup(self, address: str) -> Entry | None:
        """The first line that has this client; None for none and for what is no address."""
        if not self.tables:
            return None
        try:
            return self._known[address]
        except KeyError:
            if len(self._known) >= _MOST_KNOWN:
                self._known.clear()
            found = self._known[address] = self._find(address)
            return found

    def _find(self, address: str) -> Entry | None:
        family = AF_INET6 if ":" in address else AF_INET
        try:
            number = int.from_bytes(inet_pton(family, address.partition("%")[0]))
        except (OSError, ValueError):
            return None
        found = (networks.get(number >> shift) for of, shift, networks in self.tables if of == family)
        return min((entry for entry in found if entry), key=lambda entry: self.order[entry.where], default=None)


def parse(text: str, name: str) -> Access:
    """A file's content; `name` is how its lines are called.  Raises AccessTrouble with all that is wrong."""
    tables: dict[tuple[int, int], _Networks] = {}
    order: dict[str, int] = {}
    errors: list[str] = []
    for number, line in _logical(text):
        where = f"{name}:{number}"
        key, _, action = line.partition(" ")
        try:
            network, entry = _network(key), _entry(where, action.strip())
        except ValueError as error:
            errors.append(f"{where}: {error}")
            continue
        order[where] = len(order)
        shift = network.max_prefixlen - network.prefixlen
        family = AF_INET if network.version == 4 else AF_INET6
        same = tables.setdefault((family, shift), {})
        same.setdefault(int(network.network_address) >> shift, entry)
    if errors:
        raise AccessTrouble(errors)
    return Access(tuple((*size, networks) for size, networks in tables.items()), order)


def _logical(text: str) -> Iterator[tuple[int, str]]:
    """Lines with their continuations (postconf(5): a line that starts with white space continues), comments gone."""
    begun, gathered = 0, ""
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        if line[0].isspace() and gathered:
            gathered += f" {line.strip()}"
            continue
        if gathered:
            yield begun, " ".join(gathered.split())
        begun, gathered = number, line.strip()
    if gathered:
        yield begun, " ".join(gathered.split())


def _network(key: str) -> IPv4Network | IPv6Network:
    if key.startswith("!") or key in ("if", "endif"):
        raise ValueError(f"{key!r}: conditions are not known here; write networks only, the exceptions first")
    plain = key.replace("[", "").replace("]", "")  # cidr_table(5) has [2001:db8::]/32 too
    try:
        return ip_network(plain)
    except ValueError:
        pass
    try:
        loose = ip_network(plain, strict=False)
    except ValueError:
        raise ValueError(f'{key!r} is no network; write "192.0.2.1", "192.0.2.0/24", "2001:db8::/32"') from None
    raise ValueError(f"{key} is an address within a network; write {loose}, or the address alone")


def _entry(where: str, action: str) -> Entry:
    word, _, text = action.partition(" ")
    verb = word.upper()
    if verb in ("OK", "DUNNO"):
        if text:
            raise ValueError(f"{verb} stands alone (it says {action!r})")
        return Entry(where, verb)
    if verb in _WORDS:
        code, status = _WORDS[verb]
        return Entry(where, "REFUSE", int(code), status, text)
    if match := _CODE.fullmatch(action):
        status = match[2] or f"{match[1][0]}.7.1"
        if status[0] != match[1][0]:
            raise ValueError(f"{match[1]} and {status} disagree")
        return Entry(where, "REFUSE", int(match[1]), status, match[3] or "")
    known = "OK, DUNNO, REJECT [text], DEFER [text], or a code like 550 5.7.1 text"
    raise ValueError(f"unknown action {word!r}; write {known}" if word else f"no action; write {known}")
