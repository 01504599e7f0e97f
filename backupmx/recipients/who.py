"""who: does this address exist?  One question over the file, the fetched lists and what primaries said.

    door ─rule(address)─► Recipients ─┬─ relay_recipients (known.py), in memory
                                      └─ recipients.db (store.py), some microseconds

Keys are asked for as Postfix does: the whole address, then without its
extension where `recipient_delimiter` is set, then "@domain".

Trouble
    StoreTrouble   recipients.db cannot be read: whoever asks must answer 451.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from backupmx.mail.address import domain_of, folded, local_of, without_extension
from backupmx.recipients.known import Known
from backupmx.recipients.standing import Decision, Knowledge, ListState, Ruling, Standing, Taught, decide, judge
from backupmx.recipients.store import NOTHING, SourceState, Store

_MOST_DOMAINS = 10_000
"""Relay domains may be all subdomains of one: what is remembered of them is bounded."""
_STATES_FOR = 1.0
"""Seconds for which a list's age is not asked again."""
_NO_STATES: Mapping[str, SourceState] = {}


@dataclass(frozen=True, slots=True)
class Lists:
    """What the configuration says about lists."""

    sources: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """By name, the domains it speaks for; () for all."""
    max_age: float = 7 * 86400.0
    """A list older than this, in seconds, is stale: its no is worth nothing."""
    verify: bool = False
    """Primaries are asked about addresses that nobody knows."""
    verify_for: Mapping[str, bool] = field(default_factory=dict)
    """The same by domain."""
    delimiter: str = ""
    """Postfix's recipient_delimiter."""
    unknown: str = "auto"
    """recipients.unknown: auto, accept, defer, reject."""
    unknown_for: Mapping[str, str] = field(default_factory=dict)
    """The same by domain."""

    def asked(self, domain: str) -> bool:
        """A primary may be asked about addresses of this domain."""
        return self.verify_for.get(domain, self.verify)

    def otherwise(self, domain: str) -> str:
        """What becomes of addresses of this domain that are not known to exist: auto, accept, defer, reject."""
        return self.unknown_for.get(domain, self.unknown)


class Recipients:
    """Who exists, as far as we know.  Replaced as a whole by a reload."""

    def __init__(
        self, known: Known | None, store: Store | None, lists: Lists, clock: Callable[[], float] = time.time
    ) -> None:
        """`known`, `store` None: there is no such list."""
        self._known = known
        self._store = store
        self._lists = lists
        self._clock = clock
        self._sources_of: dict[str, Sequence[str]] = {}
        self._lists_of: dict[str, tuple[Mapping[str, SourceState], Sequence[ListState]]] = {}

    def know(self, address: str) -> Knowledge:
        """What is known of an address of a domain of ours.  Raises StoreTrouble."""
        domain = domain_of(address)
        return self._know(self.keys(address), domain, self._lists.asked(domain))[0]

    def rule(self, address: str, *, can_ask: bool = False, last_word: bool = False) -> Ruling:
        """What becomes of mail to this address of a domain of ours.  Raises StoreTrouble.

        `can_ask`: somebody is there to ask its primary, which is not down.
        `last_word`: it is up and has the last word on every address (relay.when_primary_up).
        """
        lists, keys, domain = self._lists, self.keys(address), domain_of(address)
        asked = lists.asked(domain)
        knowledge, taught = self._know(keys, domain, asked or last_word)
        decision = decide(
            knowledge.standing, lists.otherwise(domain), can_ask and asked, last_word=can_ask and last_word
        )
        if decision is Decision.ASK and self._store is not None:
            taught = taught or self._store.find(keys, ()).taught
            if taught is not None and taught.fresh(self._clock()):
                decision = Decision.ACCEPT if taught.exists else Decision.REJECT
        refresh = can_ask and asked and knowledge.standing is Standing.TAUGHT and decision is Decision.ACCEPT
        return Ruling(decision, knowledge, refresh and taught is not None and not taught.fresh(self._clock()))

    def _know(self, keys: Sequence[str], domain: str, asked: bool) -> tuple[Knowledge, Taught | None]:
        if (known := self._known) is not None:
            for key in keys:
                if line := known.source(key):
                    return Knowledge(Standing.LISTED, line, known.read_at), None
        found = self._store.find(keys, self.sources_of(domain)) if self._store else NOTHING
        return judge(self.lists_of(domain), found.listed, found.taught, asked, self._clock()), found.taught

    def keys(self, address: str) -> Sequence[str]:
        """Pure.  As the address may be listed, most exact first."""
        key = folded(address)
        whole = key[key.rfind("@") :]
        if not self._lists.delimiter:
            return (key, whole)
        base = folded(without_extension(local_of(key), self._lists.delimiter) + whole)
        return (key, whole) if base == key else (key, base, whole)

    def sources_of(self, domain: str) -> Sequence[str]:
        """Names of the fetched lists that speak for a domain of ours."""
        if (names := self._sources_of.get(domain)) is None:
            names = tuple(name for name, domains in self._lists.sources.items() if not domains or domain in domains)
            if len(self._sources_of) < _MOST_DOMAINS:
                self._sources_of[domain] = names
        return names

    def lists_of(self, domain: str) -> Sequence[ListState]:
        """The lists that speak for a domain of ours, with their age: the file, then those.  Raises StoreTrouble."""
        sources = self.sources_of(domain)
        states = self._store.states(within=_STATES_FOR) if self._store and sources else _NO_STATES
        if (last := self._lists_of.get(domain)) is not None and last[0] is states:
            return last[1]
        fetched = [
            ListState(name, states[name].synced if name in states else None, self._lists.max_age) for name in sources
        ]
        file = [ListState(self._known.name, self._known.read_at, 0.0)] if self._known else []
        lists = (*file, *fetched)
        if len(self._lists_of) < _MOST_DOMAINS:
            self._lists_of[domain] = states, lists
        return lists
