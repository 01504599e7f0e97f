"""relay/judge.py: what a next hop said becomes an outcome."""

import pytest

from backupmx.mail.reply import Reply
from backupmx.queue.entry import State
from backupmx.relay import judge
from backupmx.relay.judge import Answer
from backupmx.relay.settings import RelaySettings
from tests.relay.samples import claim

HOLD = RelaySettings("mx2.example.net", lifetime=86400.0)
BOUNCE = RelaySettings("mx2.example.net", on_refusal="bounce")
PEER = "p1[192.0.2.1]"


def judged(
    answer: Answer, settings: RelaySettings = HOLD, *, ours: bool = True, age: float = 60.0
) -> tuple[State, str]:
    mail = claim()
    found = judge.outcome(mail, mail.recipients[0], answer, settings, ours=ours, now=1000.0 + age, chance=0.5)
    return found.state, found.status


@pytest.mark.parametrize(
    ("code", "status", "state", "wanted"),
    [
        (250, "2.0.0", State.DELIVERED, "2.0.0"),
        (250, "", State.DELIVERED, "2.0.0"),
        (450, "4.2.1", State.DEFERRED, "4.2.1"),
        (421, "", State.DEFERRED, "4.0.0"),
        (550, "5.1.1", State.REFUSED, "5.1.1"),
        (554, "", State.REFUSED, "5.0.0"),
    ],
)
def test_by_code(code: int, status: str, state: State, wanted: str) -> None:
    """2xx delivered, 4xx deferred, 5xx refused and kept; a code without RFC 3463 status gets a plain one."""
    assert judged(Answer(Reply(code, status, "words"), said=PEER)) == (state, wanted)


def test_bounce_on_refusal() -> None:
    """relay.on_refusal = "bounce": a 5xx goes back to the sender."""
    assert judged(Answer(Reply(550, "5.1.1", "no")), BOUNCE) == (State.BOUNCED, "5.1.1")


def test_strangers_are_never_kept() -> None:
    """A notice that a stranger's server refuses is not kept for an operator: there is nothing to do about it."""
    assert judged(Answer(Reply(550, "5.1.1", "no")), ours=False) == (State.BOUNCED, "5.1.1")


def test_the_map_bounces() -> None:
    """error: in the map is policy: it bounces whatever on_refusal says."""
    assert judged(Answer(Reply(550, "5.1.2", "moved"), policy=True)) == (State.BOUNCED, "5.1.2")


def test_too_old() -> None:
    """Deferred once more after its lifetime: expired; delivered or refused count as they are."""
    replies = [Reply(450, "4.2.1", "x"), Reply(250, "2.0.0", "x"), Reply(550, "5.1.1", "x")]
    states = [judged(Answer(reply), age=86400.0)[0] for reply in replies]
    assert states == [State.EXPIRED, State.DELIVERED, State.REFUSED]


def test_words() -> None:
    """The reason is Postfix's: who said what, or our own words."""
    mail = claim()
    answers = [Answer(Reply(450, "4.2.1", "busy"), "p1[192.0.2.1]:25", PEER), Answer(Reply(421, "4.4.2", "lost"))]
    found = [judge.outcome(mail, mail.recipients[0], a, HOLD, ours=True, now=1060.0, chance=0.5) for a in answers]
    assert [(o.reason, o.relay) for o in found] == [
        ("host p1[192.0.2.1] said: 450 4.2.1 busy", "p1[192.0.2.1]:25"),
        ("lost", "none"),
    ]


def test_when_it_is_due() -> None:
    """By the schedule, or when the next hop that rests may be probed."""
    mail, answer = claim(), Answer(Reply(450, "4.2.1", "busy"))
    found = [
        judge.outcome(mail, mail.recipients[0], answer, HOLD, ours=True, now=1060.0, chance=0.5, again=again)
        for again in (None, 1234.0)
    ]
    assert [outcome.next_attempt for outcome in found] == [1360.0, 1234.0]
