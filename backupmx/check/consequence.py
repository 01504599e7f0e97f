"""Pure.  consequence: what an engine that is away, or that failed, means for a message.

A virus or spam that was found decides nothing here: its field meets
milter_header_checks, and a rule decides.  What is decided here is what no
rule can see, because nobody looked:

    on_error         the engine is away: connection refused, no answer to it
    on_unscannable   the engine is there and this message made it fail, or is
                     too much for it.  `defer` by default: nobody switches the
                     scanner off with a crafted mail

    accept       as if it had found nothing; the message says neither Clean nor No
    defer        451 4.7.1, the sender tries again
    quarantine   250, held until an operator looks (a milter's quarantine in Postfix)
    reject       550 5.7.1

`checks.dmarc.enforce` is a consequence too, off by default, for a site that
wants what authors' domains ask for without writing a rule:

    quarantine   dmarc=fail with policy quarantine or reject: held
    reject       as asked: held, or 550 5.7.26 (RFC 7372 3.4)

Why off?  A mailing list that changes a message makes it fail, and its readers
would be the ones who lose mail.

The spam check has only `on_error`; it covers both: mail that spamd cannot
read is no danger, and there is nothing to evade that a rule could not see.
A message too large for spamd is skipped and decides nothing.
"""

from collections.abc import Iterator

from backupmx.check.finding import Finding, Findings, Seen
from backupmx.config import Checks
from backupmx.mail.reply import Reply
from backupmx.mail.verdict import Fate, Verdict

# Postfix's words for a milter that answers tempfail or reject.
_DEFER = Reply(451, "4.7.1", "Service unavailable - try again later")
_REJECT = Reply(550, "5.7.1", "Command rejected")
_DMARC = Reply(550, "5.7.26", "Message refused by the DMARC policy of its author's domain")


def consequence(findings: Findings, settings: Checks) -> Verdict | None:
    """What on_error and on_unscannable make of it; None: nothing."""
    verdict: Verdict | None = None
    for finding in findings:
        for word in _words(finding, settings):
            if asked := _verdict(word, f"check {finding.check}: {finding.seen}: {finding.detail}"):
                verdict = asked if verdict is None else verdict.joined(asked)
    if enforced := _enforced(findings.of("dmarc"), settings.dmarc.enforce):
        verdict = enforced if verdict is None else verdict.joined(enforced)
    return verdict


def _enforced(dmarc: Finding | None, enforce: str) -> Verdict | None:
    """What the author's domain asks for, as far as we go along with it."""
    if dmarc is None or enforce == "off" or dmarc.facts.get("result") != "fail":
        return None
    policy, reason = dmarc.facts.get("policy"), f"check dmarc: {dmarc.detail}"
    if policy == "reject" and enforce == "reject":
        return Verdict(Fate.REJECT, _DMARC, reason=reason)
    return Verdict(Fate.HOLD, reason=reason) if policy in ("quarantine", "reject") else None


def _words(finding: Finding, settings: Checks) -> Iterator[str]:
    seen = _troubles(finding)
    if finding.check == "virus":
        if Seen.AWAY in seen:
            yield settings.virus.on_error
        if Seen.UNSCANNABLE in seen:
            yield settings.virus.on_unscannable
    elif finding.check == "spam" and seen:
        yield settings.spam.on_error


def _troubles(finding: Finding) -> frozenset[str]:
    """Of several engines one may be away and another have failed: both words count.  A hit settles it."""
    if finding.seen is Seen.FOUND:
        return frozenset()
    troubles = finding.facts.get("troubles", ())
    named = frozenset(troubles) if isinstance(troubles, tuple) else frozenset()
    return named | ({finding.seen.value} & {Seen.AWAY.value, Seen.UNSCANNABLE.value})


def _verdict(word: str, reason: str) -> Verdict | None:
    if word == "defer":
        return Verdict(Fate.DEFER, _DEFER, reason=reason)
    if word == "reject":
        return Verdict(Fate.REJECT, _REJECT, reason=reason)
    if word == "quarantine":
        return Verdict(Fate.HOLD, reason=reason)
    return None
