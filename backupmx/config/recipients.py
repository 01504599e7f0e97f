"""recipients: [recipients] and [[recipients.source]], who exists."""

from typing import Annotated, Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from backupmx.config.values import Seconds, Section


class RecipientSource(Section):
    """[[recipients.source]]: a list that is fetched, by a program or from a directory."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]{1,64}$")]
    """For the log and the command line; each its own."""
    domains: tuple[str, ...] = ()
    """Whose whole list it is; empty: every relay domain's."""
    command: tuple[str, ...] = ()
    """A program and its arguments that prints addresses, one a line; run as our user, without a shell.
    With neither command nor ldap the list comes by `recipients import`."""
    ldap: str = ""
    """A directory instead: ldap://HOST[:PORT], ldaps://HOST, ldapi://PATH. Wants the extra backupmx[ldap]."""
    base: str = ""
    """Where its search begins: "ou=mail,dc=example,dc=jp"."""
    filter: str = "(mail=*)"
    """Which entries."""
    attributes: tuple[str, ...] = ("mail",)
    """Whose values are addresses."""
    bind_dn: str = ""
    """Who we are to the directory; empty: anonymous."""
    password_file: str = ""
    """A file with the password of bind_dn, readable by our user alone."""
    starttls: bool = False
    """TLS on an ldap:// connection."""
    ca_file: str = ""
    """Who may have signed the directory's certificate, PEM; empty: the system's."""
    suffixes: tuple[str, ...] = ()
    """What exists beside each address: ["-ctl", "-request", "-admin", "-error"] for a list manager's lists."""
    every: Seconds = 3600.0
    """How often it is fetched; 0: only by `backupmx recipients sync`."""
    timeout: Annotated[Seconds, Field(gt=0)] = 60.0
    """For one fetch."""

    @field_validator("domains")
    @classmethod
    def _folded(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(domain.lower().rstrip(".") for domain in value)

    @model_validator(mode="after")
    def _one_kind(self) -> Self:
        if self.command and self.ldap:
            raise ValueError("write command or ldap, not both; neither, when `recipients import` brings the list")
        if self.ldap and not self.base:
            raise ValueError("ldap needs base, where the search begins")
        return self


class Recipients(Section):
    """[recipients]: who exists, beside relay.relay_recipients."""

    source: tuple[RecipientSource, ...] = ()
    """Lists that are fetched."""
    max_age: Seconds = 7 * 86400.0
    """An address that is missing in a list older than this is not refused, but asked for or put off, 450."""
    max_shrink: Annotated[float, Field(ge=0, le=1)] = 0.2
    """A fetched list that has lost more than this part is not taken until somebody confirms it."""
    unknown: Literal["auto", "accept", "defer", "reject"] = "auto"
    """An address that no list has: by what is known (see docs/recipients.md), or always accepted, put off, refused."""
    unknown_for: dict[str, Literal["auto", "accept", "defer", "reject"]] = Field(default_factory=dict)
    """The same for one domain: { "example.jp" = "defer" }."""
    learn: bool = True
    """What a primary says at delivery is remembered: a 250 for 31 days, a 5.1.1 takes it back."""

    verify: bool = False
    """The primary is asked, while the client waits, about an address that nobody knows; never while it is down."""
    verify_for: dict[str, bool] = Field(default_factory=dict)
    """The same for one domain: { "example.jp" = true }."""
    verify_wait: Annotated[Seconds, Field(gt=0, le=120)] = 9.0
    """A client waits so long for the primary's answer, then it is put off with 450."""
    probe_rate: Annotated[float, Field(gt=0)] = 60.0
    """Questions a minute to one next hop, over all processes; as many may come at once."""

    @property
    def verifies(self) -> bool:
        """Somewhere."""
        return self.verify or any(self.verify_for.values())

    @field_validator("unknown_for", "verify_for")
    @classmethod
    def _domains(cls, value: dict[str, Any]) -> dict[str, Any]:
        return {domain.lower().rstrip("."): word for domain, word in value.items()}

    @field_validator("source")
    @classmethod
    def _names(cls, value: tuple[RecipientSource, ...]) -> tuple[RecipientSource, ...]:
        names = [one.name for one in value]
        if twice := [name for name in names if names.count(name) > 1]:
            raise ValueError(f"two sources are called {twice[0]!r}")
        return value
