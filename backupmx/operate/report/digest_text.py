"""Pure.  digest_text: what the postmaster reads once a day, as a message.

    alarms, primaries that were down, what they refused, what could not be returned, quarantine

Only what wants somebody's attention makes a digest; the size of the quarantine alone does
not.  Strangers' words in it are escaped and cut.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import formatdate

from backupmx.journal import Alarm
from backupmx.mail.envelope import Envelope, Recipient
from backupmx.mail.message import Message
from backupmx.operate.measures import ago, moment, size
from backupmx.operate.printable import printable
from backupmx.queue.entry import NewEntry, NewRecipient, Outage, QueuedEntry, new_id
from backupmx.queue.refusals import Group, line

_MOST = 20
_LONGEST = 200


@dataclass(frozen=True, slots=True)
class News:
    """What there is to tell."""

    since: float
    now: float
    alarms: Sequence[Alarm] = ()
    outages: Sequence[Outage] = ()
    """Of primaries, that last or ended since, by next hop."""
    refused: Sequence[Group] = ()
    unreturned: Sequence[QueuedEntry] = ()
    """In quarantine since, with the recipients that could not be returned."""
    kept: int = 0
    """Messages in quarantine ..."""
    octets: int = 0
    """... and their size."""

    @property
    def something(self) -> bool:
        return bool(self.alarms or self.outages or self.refused or self.unreturned)


def message(news: News, hostname: str, to: str, next_hop: str, routes: str) -> NewEntry:
    """The digest."""
    return own_mail(hostname, to, next_hop, routes, _subject(news), text(news, hostname), news.now)


def own_mail(
    hostname: str, to: str, next_hop: str, routes: str, subject: str, lines: Sequence[str], now: float
) -> NewEntry:
    """Mail of our own, from the null sender: nobody answers it, and it is never returned."""
    id = new_id(now)
    mail = EmailMessage(policy=SMTP.clone(cte_type="7bit"))
    mail["Date"] = formatdate(now, localtime=True)
    mail["From"] = f"backupmx <MAILER-DAEMON@{hostname}>"
    mail["To"] = to
    mail["Subject"] = printable(f"{hostname}: {subject}")
    mail["Auto-Submitted"] = "auto-generated"
    mail["Message-ID"] = f"<{id}@{hostname}>"
    mail.set_content("\n".join(map(printable, lines)) + "\n", cte="quoted-printable")
    head, _, body = mail.as_bytes().partition(b"\r\n\r\n")
    content = Message((head.replace(b"\r\n", b"\n"),), (b"\r\n" + body,))
    envelope = Envelope("", (Recipient(to),))
    return NewEntry(
        id, now, envelope, (NewRecipient(to, next_hop),), content, message_id=f"<{id}@{hostname}>", routes=routes
    )


def _subject(news: News) -> str:
    counts = {
        "alarms": len(news.alarms),
        "down": len({outage.next_hop for outage in news.outages if outage.ended is None}),
        "refused": sum(group.recipients for group in news.refused),
        "unreturned": len(news.unreturned),
    }
    return ", ".join(f"{many} {what}" for what, many in counts.items() if many) or "a primary was down"


def text(news: News, hostname: str) -> list[str]:
    """Its lines."""
    lines = [f"backupmx on {hostname}, from {moment(news.since)} to {moment(news.now)}."]
    if news.alarms:
        lines += ["", "ALARMS", *(f"  since {moment(alarm.since)}: {_short(alarm.text)}" for alarm in news.alarms)]
    if news.outages:
        lines += ["", "PRIMARIES THAT WERE DOWN", *_down(news)]
    if news.refused:
        lines += ["", "REFUSED BY PRIMARIES AFTER WE TOOK IT: kept until you decide", *_refused(news)]
    if news.unreturned:
        lines += ["", "NEITHER DELIVERED NOR RETURNED: new in quarantine", *_unreturned(news)]
    return [*lines, "", f"In quarantine: {news.kept} messages, {size(news.octets)}."]


def _down(news: News) -> Iterator[str]:
    """Each primary once, with how long it was down within this time; and the one that lasts."""
    for next_hop in dict.fromkeys(outage.next_hop for outage in news.outages):
        those = [outage for outage in news.outages if outage.next_hop == next_hop]
        seconds = sum((o.ended or news.now) - max(o.began, news.since) for o in those)
        times = f", {len(those)} times" if len(those) > 1 else ""
        last = those[-1]
        now = f"; down since {moment(last.began)}: {_short(last.error)}" if last.ended is None else ""
        yield f"  {_short(next_hop)}: down for {ago(seconds)}{times}{now}"


def _refused(news: News) -> list[str]:
    lines = []
    for next_hop in dict.fromkeys(group.next_hop for group in news.refused):
        those = [group for group in news.refused if group.next_hop == next_hop]
        lines.append(f"  {_short(next_hop)} {line(those)}")
        lines += [f"      {g.kind}, the oldest for {ago(news.now - g.oldest)}: {_short(g.example)}" for g in those]
    return [*lines, "  backupmx queue retry|return|delete --refused NEXTHOP --reason KIND"]


def _unreturned(news: News) -> list[str]:
    reasons: dict[str, int] = {}
    for entry in news.unreturned:
        why = entry.recipients[0].reason.partition(": ")[0]
        reasons[why] = reasons.get(why, 0) + 1
    lines = [f"  {many} x {_short(why)}" for why, many in sorted(reasons.items(), key=lambda one: -one[1])]
    for entry in news.unreturned[:_MOST]:
        first = entry.recipients[0]
        lines.append(f"  {entry.id}  {_short(entry.sender or '<>')} to {_short(first.address)}")
        lines.append(f"      {_short(first.reason)}")
    if (more := len(news.unreturned) - _MOST) > 0:
        lines.append(f"  and {more} more: backupmx quarantine list")
    return [*lines, "  backupmx quarantine release|delete ID, backupmx queue return --force ID"]


def _short(words: str) -> str:
    words = printable(words)
    return words if len(words) <= _LONGEST else f"{words[:_LONGEST]}..."
