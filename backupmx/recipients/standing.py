"""Pure.  standing: what is known of an address, and what that is worth at its age.

    LISTED     a list has it (relay_recipients, a synced source), or has its whole domain
    TAUGHT     the primary took it within the last 31 days, and no list says no since
    ABSENT     every list of its domain is fresh, and none has it
    UNTAUGHT   no list speaks for its domain; the primary refused it lately
    UNSURE     a list of its domain is stale or was never fetched, or the primary has not been asked
    UNLISTED   nobody was ever named who could know

A yes is a yes at any age of its list: a primary that is down cannot be asked,
and people do not vanish in an outage.  A no is worth something only as long as
the list is fresh: who was hired yesterday is not in last month's list.

Between the primary's yes and a list's no the newer one counts: who left is in
no list any more, who came yesterday is not in last week's.

What follows for a recipient at the door, `decide`:

    exists             taken, through any outage
    ABSENT             550 5.1.1
    UNTAUGHT           the primary is asked again, if it may be asked; else 550 5.1.1
    UNSURE             the primary is asked, if it may be asked; else 450
    UNLISTED           taken, as Postfix takes it with no relay_recipient_maps

`recipients.unknown` says otherwise for addresses that are not known to exist.
Where the primary has the last word (`relay.when_primary_up = "verify"`, and it is
up) it is asked of all but ABSENT.  Who is asked of is not asked of again while its
word is fresh (`Taught.fresh`); without an answer the older knowledge decides.

Standards: Postfix ADDRESS_VERIFICATION_README for the ages of what was taught.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

YES_KEPT = 31 * 86400.0
# Postfix: address_verify_positive_expire_time.
NO_KEPT = 3 * 86400.0
# Postfix: address_verify_negative_expire_time.
_YES_FRESH = 7 * 86400.0
# Postfix: address_verify_positive_refresh_time.
_NO_FRESH = 3 * 3600.0
# Postfix: address_verify_negative_refresh_time.
_WHOLE_FRESH = 86400.0
# A domain that took a random address: it may have stopped that without anybody's address changing.


class Standing(StrEnum):
    LISTED = "listed"
    TAUGHT = "taught"
    ABSENT = "absent"
    UNTAUGHT = "untaught"
    UNSURE = "unsure"
    UNLISTED = "unlisted"

    @property
    def exists(self) -> bool:
        return self in (Standing.LISTED, Standing.TAUGHT)


@dataclass(frozen=True, slots=True)
class ListState:
    """One list, as far as an address of its domains is concerned."""

    name: str
    synced: float | None
    """When it was last fetched, seconds since the epoch; None: never."""
    max_age: float
    """Older than this, in seconds, its no is worth nothing; 0: a file that somebody keeps by hand is always right."""

    def fresh(self, now: float) -> bool:
        return not self.max_age or (self.synced is not None and now - self.synced <= self.max_age)


@dataclass(frozen=True, slots=True)
class Taught:
    """What the primary said of one address."""

    exists: bool
    at: float
    """When it last said so, seconds since the epoch."""
    said: str = ""
    """Its words, when it refused."""
    whole: bool = False
    """It takes any address of the domain (a catch-all)."""

    def stands(self, now: float) -> bool:
        """It counts."""
        return now - self.at <= (YES_KEPT if self.exists else NO_KEPT)

    def fresh(self, now: float) -> bool:
        """It need not be asked again."""
        return now - self.at <= (_WHOLE_FRESH if self.whole else _YES_FRESH if self.exists else _NO_FRESH)


@dataclass(frozen=True, slots=True)
class Knowledge:
    """What is known of an address."""

    standing: Standing
    source: str = ""
    """Who says so: "relay_recipients:12", "ldap", "the primary"; for ABSENT and UNSURE the list that decided."""
    at: float | None = None
    """When that was known last, seconds since the epoch."""
    said: str = ""
    """The primary's words, when it refused."""


def judge(lists: Sequence[ListState], listed: str, taught: Taught | None, asks: bool, now: float) -> Knowledge:
    """What all of it comes to.

    `lists`: those that speak for the address's domain.  `listed`: the one that has it, or "".
    `asks`: the primary may be asked about addresses of this domain.
    """
    if listed:
        return Knowledge(Standing.LISTED, listed, next((one.synced for one in lists if one.name == listed), None))
    stale = next((one for one in lists if not one.fresh(now)), None)
    absent_since = min((one.synced or 0.0 for one in lists), default=0.0) if stale is None else 0.0
    if taught is not None and taught.exists and taught.stands(now) and taught.at > absent_since:
        return Knowledge(Standing.TAUGHT, "the primary", taught.at)
    if stale is not None:
        return Knowledge(Standing.UNSURE, stale.name, stale.synced)
    if lists:
        return Knowledge(Standing.ABSENT, lists[0].name, absent_since)
    if taught is not None and not taught.exists and taught.stands(now):
        return Knowledge(Standing.UNTAUGHT, "the primary", taught.at, taught.said)
    return Knowledge(Standing.UNSURE if asks else Standing.UNLISTED)


class Decision(StrEnum):
    """What becomes of a recipient at the door."""

    ACCEPT = "accept"
    REJECT = "reject"  # 550 5.1.1
    DEFER = "defer"  # 450
    ASK = "ask"  # the primary, while the client waits; without an answer DEFER


def decide(standing: Standing, unknown: str, can_ask: bool, *, last_word: bool = False) -> Decision:
    """`unknown`: recipients.unknown for the domain.  `can_ask`: its primary is not down, and may be asked.

    `last_word`: it is up, and has it.
    """
    if last_word and standing is not Standing.ABSENT and (standing.exists or unknown != "reject"):
        return Decision.ASK
    if standing.exists:
        return Decision.ACCEPT
    if unknown != "auto":
        return Decision(unknown)
    if can_ask and standing in (Standing.UNSURE, Standing.UNTAUGHT):
        return Decision.ASK
    if standing is Standing.UNLISTED:
        return Decision.ACCEPT
    return Decision.DEFER if standing is Standing.UNSURE else Decision.REJECT


@dataclass(frozen=True, slots=True)
class Ruling:
    """What becomes of one recipient, and why."""

    decision: Decision
    knowledge: Knowledge
    refresh: bool = False
    """The primary's yes is old: it should be asked again, with nobody waiting for it."""
