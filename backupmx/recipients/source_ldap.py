"""source_ldap: a directory, searched whole.

    LdapSource(url="ldap://primary1.example.net", base="ou=mail,dc=example,dc=jp",
               filter="(objectClass=inetLocalMailRecipient)", attributes=("mail", "mailAlternateAddress"))

Every value of the named attributes is an address.  The search is paged, 500
entries at a time.  OpenLDAP counts its size limit (500) over all pages, unless
bind_dn is allowed more ("limits dn.exact=… size.prtotal=unlimited"); a list
that is cut short is refused: half a list looks like a whole one.

A part of the tree that is elsewhere (a referral) is not gone after, with our
password, to whoever it names: such a list is refused too.

A value that is no address is an error of the directory's, and of the list.

bonsai (libldap) is an extra: `pip install backupmx[ldap]`; FreeBSD's package is
py311-bonsai.  Without it a source with `ldap` is an error of the configuration.

Trouble
    SourceTrouble   no connection, TLS or bind refused, no such base, cut short.

Standards: RFC 4511, RFC 2696 (paging), RFC 3296 (referrals).
"""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from threading import Event
from typing import Any

from backupmx.config.home import unreadable
from backupmx.recipients.source import MOST, NEVER, Fetched, SourceTrouble, read

_PAGE = 500


@dataclass(frozen=True, slots=True)
class LdapSource:
    name: str
    url: str
    """ldap://HOST[:PORT], ldaps://…, ldapi://%2Fvar%2Frun%2Fldapi"""
    base: str
    filter: str = "(mail=*)"
    attributes: tuple[str, ...] = ("mail",)
    bind_dn: str = ""
    """"" binds anonymously."""
    password_file: Path | None = None
    starttls: bool = False
    ca_file: Path | None = None
    domains: tuple[str, ...] = ()
    suffixes: tuple[str, ...] = ()
    every: float = 3600.0
    timeout: float = 60.0

    def fetch(self, given_up: Event = NEVER) -> Fetched:
        """Raises SourceTrouble."""
        import bonsai

        try:
            client = self._client(bonsai)
            with client.connect(timeout=self.timeout) as connection:
                lines = self._all(connection, given_up)
            self._whole(bonsai)
        except bonsai.SizeLimitError as error:
            raise SourceTrouble(
                f"{self.name}: {self.url}: {error} The directory must allow {_who(self.bind_dn)} more"
            ) from None
        except bonsai.LDAPError as error:
            raise SourceTrouble(f"{self.name}: {self.url}: {error}") from None
        except ValueError as error:  # bonsai's word for a filter, URL or base that it cannot read
            raise SourceTrouble(f"{self.name}: {self.url}: {error}; look at the url, base and filter") from None
        return read(lines, self.name, self.domains, self.suffixes)

    def _client(self, bonsai: Any) -> Any:
        client = bonsai.LDAPClient(self.url, tls=self.starttls)
        client.set_server_chase_referrals(False)
        if self.ca_file:
            client.set_ca_cert(str(self.ca_file))
        if self.bind_dn:
            client.set_credentials("SIMPLE", user=self.bind_dn, password=self._password())
        return client

    def _password(self) -> str:
        if self.password_file is None:
            return ""
        try:
            return self.password_file.read_text("utf-8").rstrip("\r\n")
        except (OSError, UnicodeDecodeError) as error:
            why = unreadable(error) if isinstance(error, OSError) else "not UTF-8"
            raise SourceTrouble(f"{self.name}: {self.password_file}: {why}") from None

    def _all(self, connection: Any, given_up: Event) -> list[str]:
        """Pages come one by one, each in time: all together must."""
        lines, deadline = [], time.monotonic() + self.timeout
        for line in self._values(connection):
            lines.append(line)
            if time.monotonic() > deadline or given_up.is_set() or len(lines) > MOST:
                raise SourceTrouble(
                    f"{self.name}: {self.url}: {len(lines)} addresses in {self.timeout:.0f} s, and no end; not taken"
                )
        return lines

    def _whole(self, bonsai: Any) -> None:
        """No referrals: bonsai passes over them in silence."""
        client = self._client(bonsai)
        client.set_managedsait(True)
        try:
            with client.connect(timeout=self.timeout) as connection:
                found = connection.search(self.base, 2, "(objectClass=referral)", ["ref"], timeout=self.timeout)
        except bonsai.LDAPError:
            return  # a directory that does not know the control (RFC 3296) has no such entries
        if places := [str(place) for entry in found for place in entry.get("ref", ())]:
            raise SourceTrouble(
                f"{self.name}: {self.url}: a part is at {', '.join(places[:3])}; name that as a source of its own"
            )

    def _values(self, connection: Any) -> Iterator[str]:
        entries = connection.paged_search(
            self.base, 2, self.filter, list(self.attributes), timeout=self.timeout, page_size=_PAGE
        )
        for entry in entries:
            for attribute in self.attributes:
                yield from (str(value) for value in entry.get(attribute, ()))


def _who(bind_dn: str) -> str:
    return f"bind_dn {bind_dn}" if bind_dn else "anonymous searches, or a bind_dn,"
