"""delay: "it waits here, do not send it again": the sender of mail that is late is told, once.

    queue --late, a page at a time--> warn --notices, mark--> queue

A courtesy, off by default (Postfix: delay_warning_time): a secondary waits for hours without anything being
wrong.  So it is stricter than a notice of failure.  It goes only to a sender whose domain SPF or DKIM stood for,
whatever `relay.bounce_to` says, at most `relay.bounce_rate` an hour to one domain; who gets none for that reason
loses nothing.  NOTIFY=NEVER, or NOTIFY without DELAY, is honoured; without NOTIFY the setting decides (RFC 3461 4.1
leaves it to us).

A message is looked at once: all its recipients that wait in that moment stand in one notice.  Whether they were ever
tried does not matter: while a next hop rests its mail is not.

Standards: RFC 3464 2.3.3 (Action: delayed), 2.3.9 (Will-Retry-Until), RFC 3461 4.1.
"""

import re
from dataclasses import replace

from backupmx.journal import Journal
from backupmx.queue.delays import Late
from backupmx.queue.entry import NewEntry, Outcome, State
from backupmx.queue.sqlite import SqliteQueue
from backupmx.relay import bounce
from backupmx.relay.returns import Returns
from backupmx.relay.settings import RelaySettings
from backupmx.route.routes import Routes

_PAGE = 200
_CODE = re.compile(r"\b4\.\d{1,3}\.\d{1,3}\b")


async def warn(
    queue: SqliteQueue, routes: Routes, settings: RelaySettings, returns: Returns, journal: Journal, now: float
) -> None:
    """Of everything that became late since the last time.  `returns`: what this process has sent of the kind."""
    if not settings.delay_warning:
        return
    strict = replace(settings, bounce_to="vouched")
    mark = "-"
    while mark:
        page = await queue.late(now - settings.delay_warning, _PAGE)
        notices = {}
        for late in page.late:
            told = asked(late)
            if told and not returns.silence(late.claim, strict, now):
                notices[late.claim.id] = _notice(late, told, routes, settings, now)
        if mark := page.mark:
            for id in await queue.warned(mark, notices):
                journal.delay_noticed(id, notices[id].id)


def asked(late: Late) -> list[bounce.Told]:
    """Pure.  Recipients whose sender wants to hear of a delay."""
    told: list[bounce.Told] = []
    if late.claim.client is None:  # our own
        return told
    for recipient, reason in zip(late.claim.recipients, late.reasons, strict=True):
        if not recipient.notify or "DELAY" in recipient.notify.upper().split(","):
            code = _CODE.search(reason)
            why = reason or "it has not been tried yet"
            told.append((recipient, Outcome(recipient.address, State.DEFERRED, why, code[0] if code else "4.4.1"),
                         "delayed"))  # fmt: skip
    return told


def _notice(late: Late, told: list[bounce.Told], routes: Routes, settings: RelaySettings, now: float) -> NewEntry:
    until = late.claim.arrived + settings.lifetime
    notice = bounce.notice(late.claim, told, settings.hostname, routes.next_hop, now, until=until)
    return replace(notice, routes=routes.signature)
