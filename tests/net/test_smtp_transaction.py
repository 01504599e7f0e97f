"""net/smtp_transaction.py: one message, reply by reply, without a socket."""

from backupmx.mail.message import Message
from backupmx.mail.reply import Reply
from backupmx.net.smtp_transaction import Next, Transaction

COMMANDS = [b"MAIL", b"RCPT1", b"RCPT2", b"DATA"]


def transaction(*, lmtp: bool = False, pipelining: bool = True) -> Transaction:
    started = Transaction(COMMANDS, Message((b"A: b",)), 10, lmtp=lmtp)
    started.opening(pipelining)
    return started


def answers(one: Transaction, codes: str) -> list[Next]:
    return [one.answer(int(code), [b"x"]) for code in codes.split()]


def codes(one: Transaction) -> list[int]:
    return [reply.code if reply else 0 for reply in one.result.replies]


def test_delivered() -> None:
    """Pipelined: three replies wait, 354 asks for the content, one reply is everybody's."""
    one = transaction()
    assert answers(one, "250 250 250 354") == [Next.MORE, Next.MORE, Next.MORE, Next.CONTENT]
    one.dotted = True
    assert (answers(one, "250"), codes(one), one.unfinished) == ([Next.DONE], [250, 250], False)


def test_one_refused() -> None:
    """A refused recipient keeps his own reply."""
    one = transaction()
    answers(one, "250 550 250 354 250")
    assert codes(one) == [550, 250]


def test_mail_refused() -> None:
    """A refused MAIL is everybody's answer, whatever the echoes say; nothing to reset."""
    one = transaction()
    assert answers(one, "451 503 503 503")[-1] is Next.DONE
    assert (codes(one), one.unfinished) == ([451, 451], False)


def test_nobody_accepted() -> None:
    """All recipients refused: DATA's refusal ends it, and the next message needs a RSET."""
    one = transaction()
    assert answers(one, "250 550 450 554")[-1] is Next.DONE
    assert (codes(one), one.unfinished) == ([550, 450], True)


def test_354_for_nobody() -> None:
    """A server that wants content for nobody gets a lone dot, and its reply counts for nothing."""
    one = transaction()
    assert answers(one, "250 550 550 354 250")[-2:] == [Next.DOT, Next.DONE]
    assert codes(one) == [550, 550]


def test_354_without_mail() -> None:
    """A server that refused MAIL and wants content all the same is left, before anybody gets an empty message."""
    one = transaction()
    assert answers(one, "450 250 250 354")[-1] is Next.HANG_UP
    assert codes(one) == [450, 450]


def test_data_refused() -> None:
    """DATA refused, also with a 2xx that no server should give: temporary for the accepted ones."""
    one, odd = transaction(), transaction()
    answers(one, "250 250 550 452")
    answers(odd, "250 250 550 250")
    assert (codes(one), codes(odd)) == ([452, 550], [451, 550])


def test_command_by_command() -> None:
    """Without PIPELINING the next command waits for the last reply, and a refusal of all saves DATA."""
    one, none, mail = (transaction(pipelining=False) for _ in range(3))
    assert answers(one, "250") == [Next.COMMAND]
    assert one.command == b"RCPT1"
    for _ in range(2):
        assert one.answer(250, [b""]) is Next.COMMAND
        assert one.command in (b"RCPT2", b"DATA")
    assert one.answer(354, [b""]) is Next.CONTENT
    none.answer(250, [b""]), none.command
    none.answer(550, [b""]), none.command
    assert (none.answer(550, [b""]), none.unfinished) == (Next.DONE, True)
    assert mail.answer(550, [b""]) is Next.DONE


def test_lmtp() -> None:
    """LMTP answers for each accepted recipient after the dot."""
    one = transaction(lmtp=True)
    assert answers(one, "250 250 250 354 250 452")[-2:] == [Next.MORE, Next.DONE]
    assert codes(one) == [250, 452]


def test_lost_before_the_dot() -> None:
    """Before the dot nothing was taken: the whole message is free for another connection."""
    one = transaction()
    answers(one, "250 250 550 354")
    assert one.lost("gone") is None


def test_lost_after_the_dot() -> None:
    """After the dot who has no answer has none, and nobody else forgets his."""
    one, lmtp = transaction(), transaction(lmtp=True)
    answers(one, "250 250 550 354")
    answers(lmtp, "250 250 250 354 250")
    one.dotted = lmtp.dotted = True
    results = [t.lost("gone") for t in (one, lmtp)]
    assert [[r and r.code for r in result.replies] for result in results if result] == [[None, 550], [250, None]]


def test_early_end() -> None:
    """421 is the answer of those who have none; a success before the message was whole is none."""
    one = transaction()
    answers(one, "250 550")
    assert [r and r.code for r in one.end(Reply(421, "4.3.2", "bye")).replies] == [550, 421]
    assert [r and r.code for r in one.end(Reply(250, "2.0.0", "ok")).replies] == [550, 451]


def test_phases() -> None:
    """It knows what the peer owes us, for time limits and for the log."""
    one = transaction()
    phases = [one.phase]
    for code in (250, 250, 250, 354):
        one.answer(code, [b""])
        phases.append(one.phase)
    assert phases == ["mail", "rcpt", "rcpt", "data", "dot"]
