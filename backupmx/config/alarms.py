"""alarms: [alarms], when somebody is told, and how."""

from typing import Annotated
from urllib.parse import urlsplit

from pydantic import Field, field_validator

from backupmx.config.values import Octets, Seconds, Section, mailbox


class Alarms(Section):
    """[alarms]: what is worth a message, and whom it goes to; with none of the three ways the log alone tells."""

    mail_to: str = ""
    """Who gets mail; better an address that does not lie behind the primaries."""
    webhook: str = ""
    """A URL that is sent JSON by POST."""
    command: tuple[str, ...] = ()
    """A program and its arguments that reads the same JSON; run as our user, without a shell."""
    primary_down: Seconds = 900.0
    """A primary is down for longer; 0: never told."""
    queue_age: Seconds = 4 * 3600.0
    """The oldest message that is tried for a next hop has waited for longer; 0: never told."""
    engine_away: Seconds = 300.0
    """An engine or milter does not answer for longer; 0: never told."""
    disk_free: Octets = 1 << 30
    """Less than this is free on the queue's disk; 0: never told."""
    certificate: Seconds = 14 * 86400.0
    """A certificate of smtp.tls_chain_files ends within this time; 0: never told."""
    lists: bool = True
    """A list of recipients is older than recipients.max_age."""
    calm: Annotated[Seconds, Field(ge=0)] = 600.0
    """What is over must have been so for this long before its end is told: what flaps is told once."""

    @field_validator("mail_to")
    @classmethod
    def _reader(cls, value: str) -> str:
        return mailbox(value)

    @field_validator("webhook")
    @classmethod
    def _url(cls, value: str) -> str:
        parts = urlsplit(value)
        if value and not (parts.scheme in ("http", "https") and parts.hostname and value.isprintable()):
            raise ValueError("write a URL: https://hooks.example.net/backupmx")
        return value
