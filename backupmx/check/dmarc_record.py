"""Pure.  dmarc_record: policy records, the tree walk's steps, and what follows from both.

    targets("a.mail.example.com")   the names to ask, at most eight, from the
                                    longest to the shortest
    organization(domain, records)   the organizational domain
    Record.policy_for(...)          p, sp or np

Why no Public Suffix List?  Where the tree walk finds no record the domain is
its own organization and its author has no policy to apply; where it finds one
the record decides.  A list could only disagree with the domain's owner.

Standards: RFC 9989 4.7 (records), 4.10 (tree walk); it obsoletes RFC 7489.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

_VERSION = re.compile(rb"v[ \t]*=[ \t]*DMARC1[ \t]*(?:;|\Z)")
_POLICIES = ("none", "quarantine", "reject")
_MOST_LABELS = 8


@dataclass(frozen=True, slots=True)
class Record:
    """A DMARC policy record."""

    p: str = "none"
    sp: str = ""
    np: str = ""
    strict_dkim: bool = False
    strict_spf: bool = False
    psd: str = "u"
    """y, n or u: whether this is a public suffix."""
    testing: bool = False
    """t=y: the owner asks for one step less."""

    def policy_for(self, *, own: bool, exists: bool) -> str:
        """For the record's own domain p; for one below it sp, or np if that does not exist."""
        if own:
            policy = self.p
        elif not exists and self.np:
            policy = self.np
        else:
            policy = self.sp or self.p
        if self.testing:  # RFC 9989 4.7 t=: reject becomes quarantine, quarantine becomes none
            return _POLICIES[max(0, _POLICIES.index(policy) - 1)]
        return policy


def record_of(strings: Sequence[bytes]) -> Record | None:
    """The one DMARC record among TXT records; None when there is none, or several."""
    found = [text for text in strings if _VERSION.match(text)]
    return _parsed(found[0]) if len(found) == 1 else None


def _parsed(text: bytes) -> Record | None:
    tags: dict[str, str] = {}
    for item in text.decode("utf-8", "replace").split(";"):
        name, equals, value = item.partition("=")
        if equals:
            tags.setdefault(name.strip().lower(), value.strip().lower())
    if any(tags.get(name, "none") not in _POLICIES for name in ("p", "sp", "np")):
        # RFC 9989 4.10.1: a record with a policy that is none counts as p=none if it wants reports, else not at all.
        if not tags.get("rua"):
            return None
        tags.update(p="none", sp="", np="")
    return Record(
        p=tags.get("p", "none"),
        sp=tags.get("sp", ""),
        np=tags.get("np", ""),
        strict_dkim=tags.get("adkim") == "s",
        strict_spf=tags.get("aspf") == "s",
        psd=tags["psd"] if tags.get("psd") in ("y", "n") else "u",
        testing=tags.get("t") == "y",
    )


def targets(domain: str) -> tuple[str, ...]:
    """The domains of a tree walk: itself, then (of a long one) its last seven labels, and so on up."""
    labels = domain.split(".")
    rest = labels[1:] if len(labels) <= _MOST_LABELS else labels[-(_MOST_LABELS - 1) :]
    return (domain, *(".".join(rest[at:]) for at in range(len(rest))))


def organization(domain: str, records: Mapping[str, Record]) -> str:
    """The organizational domain, from the records that the walk from `domain` found."""
    walked = [target for target in targets(domain) if target in records]
    for target in walked:  # from the longest to the shortest
        if records[target].psd == "n":
            return target
        if records[target].psd == "y" and target != domain:
            below = target.count(".") + 2
            return ".".join(domain.split(".")[-below:])
    return walked[-1] if walked else domain


def governing(domain: str, records: Mapping[str, Record]) -> str:
    """The domain whose record holds for mail from `domain`; "" when none does.

    Its own; else its organization's; else that of the public suffix above it.
    """
    if domain in records:
        return domain
    if (organized := organization(domain, records)) in records:
        return organized
    return next((t for t in targets(domain) if t in records and records[t].psd == "y"), "")
