"""Pure.  stanzas: what the primary's postmaster writes so that his secondary's mail is taken.

A secondary has checked, and said 250.  Whatever the primary refuses after that is
held here or bounced: so the primary should know the secondary's addresses, not count
them against its limits, and not judge by them what the real client should be judged by.

Chosen by the greeting, where that tells; else all are shown.  None of them makes the
secondary a host that may relay through the primary.

Sources: postconf(5), postscreen(8), XCLIENT_README; policyd-spf.conf(5); rspamd's
external_relay module; exim's specification, chapters 43 and 57; smtpd.conf(5).
"""

from collections.abc import Sequence
from enum import StrEnum


class Software(StrEnum):
    POSTFIX = "Postfix"
    EXIM = "Exim"
    OPENSMTPD = "OpenSMTPD"
    OTHER = ""


def software(banner: str) -> Software:
    """ "primary1.example.net ESMTP Postfix (Debian/GNU)"."""
    words = banner.lower()
    return next((each for each in Software if each and each.lower() in words), Software.OTHER)


def trust(which: Software, ours: Sequence[str]) -> str:
    """Refused, greylisted or slowed down: know this address."""
    addresses = " ".join(ours) or "OUR-ADDRESS"
    postfix = (
        f"Postfix, main.cf: smtpd_client_event_limit_exceptions = $mynetworks, {addresses}\n"
        "  smtpd_recipient_restrictions = reject_unauth_destination,"
        " check_client_access cidr:/etc/postfix/secondary.cidr, ... (before greylisting and block lists)\n"
        "  postscreen_access_list = permit_mynetworks, cidr:/etc/postfix/secondary_screen.cidr\n"
        f"  secondary.cidr: {_each(ours, 'permit_auth_destination')}; secondary_screen.cidr: {_each(ours, 'permit')}"
    )
    exim = (
        f"Exim: hostlist secondary = {' : '.join(ours) or 'OUR-ADDRESS'}\n"
        "  first in acl_check_rcpt: accept hosts = +secondary, domains = +local_domains, verify = recipient\n"
        "  and smtp_reserve_hosts = +secondary with a smtp_accept_reserve"
    )
    opensmtpd = (
        f"OpenSMTPD: table secondary {{ {', '.join(ours) or 'OUR-ADDRESS'} }}\n"
        "  match from src <secondary> for domain <domains> action ... (before the others),"
        " and !src <secondary> in its filters"
    )
    return _of(which, postfix, exim, opensmtpd)


def spf(which: Software, ours: Sequence[str]) -> str:
    """SPF is checked on us instead of on the client that brought us the mail."""
    networks = ",".join(ours) or "OUR-ADDRESS"
    postfix = (
        f"policyd-spf.conf: skip_addresses = 127.0.0.0/8,::ffff:127.0.0.0/104,::1,{networks}\n"
        "or have Postfix judge the real client, main.cf: smtpd_authorized_xclient_hosts ="
        f" {' '.join(ours) or 'OUR-ADDRESS'}"
    )
    exim = f"Exim: ! hosts = +secondary before each spf = fail, with hostlist secondary = {' : '.join(ours)}"
    opensmtpd = f"OpenSMTPD: !src <secondary> in its SPF filter, with table secondary {{ {', '.join(ours)} }}"
    rspamd = (
        'Rspamd, local.d/external_relay.conf: rules { "SECONDARY" { strategy = "ip_map"; '
        f"ip_map = [{', '.join(f'{chr(34)}{each}{chr(34)}' for each in ours)}]; }} }}"
    )
    return _of(which, postfix, exim, opensmtpd) + "\n" + rspamd


def xclient(which: Software, ours: Sequence[str]) -> str:
    """So that its log and its checks know the real client."""
    if which not in (Software.POSTFIX, Software.OTHER):
        return ""
    addresses = " ".join(ours) or "OUR-ADDRESS"
    return (
        f"Postfix, main.cf, for the log alone: smtpd_authorized_xforward_hosts = {addresses}\n"
        f"  or to have its restrictions, SPF and milters see the client: smtpd_authorized_xclient_hosts = {addresses}"
    )


def _each(ours: Sequence[str], action: str) -> str:
    return ", ".join(f'"{address} {action}"' for address in ours) or f'"OUR-ADDRESS {action}"'


def _of(which: Software, postfix: str, exim: str, opensmtpd: str) -> str:
    known = {Software.POSTFIX: postfix, Software.EXIM: exim, Software.OPENSMTPD: opensmtpd}
    return known.get(which) or "\n".join(known.values())
