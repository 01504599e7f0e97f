"""Pure.  clients: what [smtp] says of clients that nobody knows; docs/smtp.md tells the whole."""

from typing import Annotated, Literal

from pydantic import Field

from backupmx.config.values import Seconds, Section


class ClientPolicy(Section):
    """The part of [smtp] that may refuse a client for what it is.  Off by default, as with Postfix."""

    client_access: str = ""
    """Own allow and block list: a file of "NETWORK OK|REJECT|DEFER|DUNNO" (Postfix: check_client_access cidr:FILE)."""
    reject_invalid_helo_hostname: bool = False
    """A greeting that is neither a host's name nor an address, 501 5.5.2 (Postfix has the same name)."""
    reject_non_fqdn_helo_hostname: bool = False
    """A greeting that is no whole name, 504 5.5.2 (Postfix has the same name)."""
    reject_helo_as_us: bool = False
    """Somebody else who greets with our hostname or address, 554 5.7.1."""
    reject_unknown_reverse_client_hostname: bool = False
    """A client without a name in the DNS, 450 4.7.1 (Postfix has the same name)."""
    reject_unknown_client_hostname: bool = False
    """A client whose name does not lead back to it, 450 4.7.25 (Postfix has the same name)."""
    reject_non_fqdn_sender: bool = False
    """A sender whose domain is no whole name, 504 5.5.2 (Postfix has the same name)."""
    reject_unauth_pipelining: bool = False
    """A client that sends on behind its first greeting without waiting, 503 5.5.0 (Postfix has the same name)."""
    dnsbl_sites: tuple[str, ...] = ()
    """Lists in the DNS: "zone", "zone=127.0.0.[2..11]*3", "zone*-2" (Postfix: postscreen_dnsbl_sites)."""
    dnsbl_threshold: Annotated[int, Field(ge=1)] = 1
    """From this sum of weights on a client is listed (Postfix: postscreen_dnsbl_threshold)."""
    dnsbl_action: Literal["score", "enforce"] = "score"
    """A listed client is told to the log and the spam check, or refused too, 550 5.7.1."""
    dnsbl_timeout: Annotated[Seconds, Field(gt=0, le=60)] = 10.0
    """No answer in this time is no opinion (Postfix: postscreen_dnsbl_timeout)."""
    dnsbl_reply_map: dict[str, str] = Field(default_factory=dict)
    """What clients read in place of a zone with our key in it (Postfix: postscreen_dnsbl_reply_map)."""
    pregreet: Literal["off", "score", "enforce"] = "off"
    """Unknown clients wait for our greeting: who talks before it is told to the spam check, or refused, 550 5.5.1."""
    pregreet_wait: Annotated[Seconds, Field(gt=0, le=60)] = 6.0
    """How long (Postfix: postscreen_greet_wait)."""
