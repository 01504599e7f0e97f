"""contract: what any queue promises.  A test file subclasses it and brings the fixture `queue`.

`queue` is open and empty, its clock stands at samples.NOW.
"""

import asyncio
from dataclasses import replace

import pytest

from backupmx.queue.entry import UNROUTED, HopState, OperatedQueue, Paused, QueueTrouble, Settlement, State
from backupmx.route.primaries import Offer
from tests.queue.samples import CLIENT, HOP, NOW, OTHER, entry, outcome, settled, wire

LEASE = 300.0


async def ids(queue: OperatedQueue) -> list[str]:
    return [listed.id for listed in await queue.waiting()]


class QueueContract:
    # What goes in comes out

    async def test_all_of_a_message(self, queue: OperatedQueue) -> None:
        """What was put is claimed with every fact that a delivery needs, byte for byte."""
        new = entry("anna@example.jp", "bert@example.jp")
        await queue.put(new)
        (claim,) = await queue.claim(HOP, 10, NOW, LEASE)
        assert [r.address for r in claim.recipients] == ["anna@example.jp", "bert@example.jp"]
        assert [(r.notify, r.orcpt, r.attempts) for r in claim.recipients] == [
            ("FAILURE", "rfc822;anna@example.jp", 0),
            ("FAILURE", "rfc822;bert@example.jp", 0),
        ]
        assert wire(claim.message) == wire(new.message)
        assert (claim.id, claim.arrived, claim.next_hop, claim.sender) == (new.id, NOW, HOP, "sender@example.com")
        assert (claim.body, claim.smtputf8, claim.ret, claim.envid) == ("8BITMIME", True, "HDRS", "env+2Bid")
        assert (claim.size, claim.client) == (len(wire(new.message)), CLIENT)

    @pytest.mark.parametrize("size", [0, 1, 256 * 1024, 256 * 1024 + 1, 3_000_000])
    async def test_any_size(self, queue: OperatedQueue, size: int) -> None:
        """A body of any length arrives whole, in the row or in a file."""
        new = entry(body=bytes(range(256)) * (size // 256) + b"z" * (size % 256))
        await queue.put(new)
        (claim,) = await queue.claim(HOP, 1, NOW, LEASE)
        assert (wire(claim.message), claim.size) == (wire(new.message), new.message.size)

    @pytest.mark.parametrize("headers", [(), (b"A: 1",), (b"A: 1\n\t2\n 3", b"B:", b"\xff\xfe: x")])
    async def test_any_headers(self, queue: OperatedQueue, headers: tuple[bytes, ...]) -> None:
        """A header block of any shape arrives as it stood, none at all too."""
        new = entry(headers=headers)
        await queue.put(new)
        (claim,) = await queue.claim(HOP, 1, NOW, LEASE)
        assert (wire(claim.message), claim.size) == (wire(new.message), new.message.size)

    async def test_a_peers_bytes(self, queue: OperatedQueue) -> None:
        """Text that is not UTF-8 in a reason or a reply is kept as far as text can, and stops nothing."""
        await queue.put(entry(state=State.QUEUED, reason="caf\udce9"))
        (claim,) = await queue.claim(HOP, 1, NOW, LEASE)
        deferred = outcome("anna@example.jp", State.DEFERRED, next_attempt=NOW + 60, reason="said \udcff \ud800 日本")
        await queue.settle(Settlement(claim.id, (deferred,)), NOW)
        (listed,) = await queue.waiting()
        assert listed.recipients[0].reason.endswith("日本")
        assert listed.recipients[0].reason.isprintable()

    async def test_the_same_id_twice(self, queue: OperatedQueue) -> None:
        """An id that is there already is refused, and what else was put at that moment is not."""
        first = entry()
        results = await asyncio.gather(
            queue.put(first), queue.put(first), *(queue.put(entry()) for _ in range(5)), return_exceptions=True
        )
        assert sorted(type(r).__name__ for r in results) == ["NoneType"] * 6 + ["QueueTrouble"]
        assert len(await ids(queue)) == 6

    async def test_nobody_to_deliver_to(self, queue: OperatedQueue) -> None:
        """An entry without recipients would never end: it is no entry."""
        new = entry()
        with pytest.raises(ValueError, match="without recipients"):
            await queue.put(type(new)(new.id, NOW, new.envelope, (), new.message))

    # Claims

    async def test_a_claim_is_exclusive(self, queue: OperatedQueue) -> None:
        """What one attempt has, no other gets, until its lease is over."""
        await queue.put(entry())
        assert len(await queue.claim(HOP, 10, NOW, LEASE)) == 1
        assert await queue.claim(HOP, 10, NOW + LEASE - 1, LEASE) == []
        assert len(await queue.claim(HOP, 10, NOW + LEASE, LEASE)) == 1

    async def test_many_claim_at_once(self, queue: OperatedQueue) -> None:
        """Attempts that start together share the work and never a recipient."""
        await asyncio.gather(*(queue.put(entry()) for _ in range(40)))
        claims = await asyncio.gather(*(queue.claim(HOP, 7, NOW, LEASE) for _ in range(8)))
        claimed = [claim.id for those in claims for claim in those]
        assert (len(claimed), len(set(claimed))) == (40, 40)

    async def test_oldest_first(self, queue: OperatedQueue) -> None:
        """What has been due longest goes first, and no more than was asked for."""
        new = [entry(arrived=NOW - age) for age in (10, 30, 20)]
        for one in new:
            await queue.put(one)
        claimed = await queue.claim(HOP, 2, NOW, LEASE) + await queue.claim(HOP, 2, NOW, LEASE)
        assert [claim.id for claim in claimed] == [new[1].id, new[2].id, new[0].id]

    async def test_many_recipients_are_one_entry(self, queue: OperatedQueue) -> None:
        """A message to a hundred people is one claim, in the order of the original transaction."""
        addresses = [f"user{i}@example.jp" for i in range(100)]
        await queue.put(entry(*addresses))
        await queue.put(entry())
        first, second = await queue.claim(HOP, 2, NOW, LEASE)
        assert [r.address for r in first.recipients] == addresses
        assert len(second.recipients) == 1

    async def test_a_claim_is_for_one_next_hop(self, queue: OperatedQueue) -> None:
        """Recipients of another next hop stay for its own attempt."""
        mixed = entry("anna@example.jp", "bert@example.jp")
        there = type(mixed.recipients[1])("bert@example.jp", OTHER)
        await queue.put(type(mixed)(mixed.id, NOW, mixed.envelope, (mixed.recipients[0], there), mixed.message))
        (here,) = await queue.claim(HOP, 9, NOW, LEASE)
        (other,) = await queue.claim(OTHER, 9, NOW, LEASE)
        assert ([r.address for r in here.recipients], [r.address for r in other.recipients]) == (
            ["anna@example.jp"],
            ["bert@example.jp"],
        )
        await queue.settle(settled(here), NOW)
        assert [r.address for r in (await queue.waiting())[0].recipients] == ["bert@example.jp"]
        await queue.settle(settled(other), NOW)
        assert await ids(queue) == []

    async def test_given_back(self, queue: OperatedQueue) -> None:
        """A claim that led to no attempt is due as before, at its old place, and counts no try."""
        first, second = entry(arrived=NOW - 2), entry(arrived=NOW - 1)
        await queue.put(first)
        await queue.put(second)
        claimed = await queue.claim(HOP, 1, NOW, LEASE)
        await queue.give_back(claimed)
        again = await queue.claim(HOP, 9, NOW, LEASE)
        assert [claim.id for claim in again] == [first.id, second.id]
        assert again[0].recipients[0].attempts == 0

    # Outcomes

    async def test_delivered(self, queue: OperatedQueue) -> None:
        """A message whose recipients all have their end is gone."""
        await queue.put(entry("anna@example.jp", "bert@example.jp"))
        (claim,) = await queue.claim(HOP, 1, NOW, LEASE)
        await queue.settle(settled(claim), NOW)
        assert (await ids(queue), await queue.due(NOW + 1e6), await queue.next_due(NOW)) == ([], [], None)

    async def test_the_last_one_ends_it(self, queue: OperatedQueue) -> None:
        """Whoever settles the last recipient of a message is told that it is gone, and nobody else."""
        await queue.put(entry("a@example.jp", "b@example.jp", "c@example.jp"))
        (claim,) = await queue.claim(HOP, 9, NOW, LEASE)
        one, two, three = (Settlement(claim.id, (outcome(r.address),)) for r in claim.recipients)
        assert await queue.settle(one, NOW) is False
        together = await asyncio.gather(queue.settle(two, NOW), queue.settle(three, NOW))
        assert together == [False, True]

    async def test_each_recipient_has_its_own_outcome(self, queue: OperatedQueue) -> None:
        """One is delivered, one deferred, one refused: only the first is gone."""
        await queue.put(entry("anna@example.jp", "bert@example.jp", "cleo@example.jp"))
        (claim,) = await queue.claim(HOP, 1, NOW, LEASE)
        outcomes = (
            outcome("anna@example.jp"),
            outcome("bert@example.jp", State.DEFERRED, next_attempt=NOW + 60, reason="450 busy"),
            outcome("cleo@example.jp", State.REFUSED, reason="550 no"),
        )
        await queue.settle(Settlement(claim.id, outcomes), NOW)
        (listed,) = await queue.waiting()
        assert [(r.address, r.state, r.reason, r.attempts, r.next_attempt) for r in listed.recipients] == [
            ("bert@example.jp", State.DEFERRED, "450 busy", 1, NOW + 60),
            ("cleo@example.jp", State.REFUSED, "550 no", 1, 0),
        ]

    async def test_deferred_until_due(self, queue: OperatedQueue) -> None:
        """Deferred mail is not claimed before its time, and is then."""
        await queue.put(entry())
        (claim,) = await queue.claim(HOP, 1, NOW, LEASE)
        await queue.settle(settled(claim, State.DEFERRED, next_attempt=NOW + 60), NOW)
        assert await queue.claim(HOP, 1, NOW + 59, LEASE) == []
        assert await queue.next_due(NOW) == NOW + 60
        (again,) = await queue.claim(HOP, 1, NOW + 60, LEASE)
        assert again.recipients[0].attempts == 1

    @pytest.mark.parametrize("state", [State.REFUSED, State.HELD])
    async def test_kept_until_a_word(self, queue: OperatedQueue, state: State) -> None:
        """Refused and held mail is never claimed by itself."""
        await queue.put(entry())
        (claim,) = await queue.claim(HOP, 1, NOW, LEASE)
        await queue.settle(settled(claim, state), NOW)
        assert await queue.claim(HOP, 9, NOW + 1e9, LEASE) == []
        assert (await queue.due(NOW + 1e9), await queue.next_due(NOW)) == ([], None)

    @pytest.mark.parametrize("state", [State.BOUNCED, State.EXPIRED])
    async def test_a_notice_takes_its_place(self, queue: OperatedQueue, state: State) -> None:
        """What is returned leaves in the same commit in which its notice comes."""
        await queue.put(entry())
        (claim,) = await queue.claim(HOP, 1, NOW, LEASE)
        notice = entry("sender@example.com", hop=OTHER)
        await queue.settle(Settlement(claim.id, (outcome("anna@example.jp", state),), notice), NOW)
        assert await ids(queue) == [notice.id]

    async def test_a_notice_that_cannot_be_kept(self, queue: OperatedQueue) -> None:
        """If the notice cannot be written the recipients stay."""
        present = entry()
        await queue.put(present)
        await queue.put(entry("bert@example.jp", hop=OTHER))
        (claim,) = await queue.claim(OTHER, 1, NOW, LEASE)
        with pytest.raises(QueueTrouble):
            await queue.settle(Settlement(claim.id, (outcome("bert@example.jp", State.BOUNCED),), present), NOW)
        assert len(await ids(queue)) == 2

    async def test_delivered_after_the_lease(self, queue: OperatedQueue) -> None:
        """Mail that the primary took is gone, even when its lease had run out and another attempt has it."""
        await queue.put(entry())
        (slow,) = await queue.claim(HOP, 1, NOW, LEASE)
        (quick,) = await queue.claim(HOP, 1, NOW + LEASE, LEASE)
        await queue.settle(settled(slow), NOW + LEASE)
        assert await ids(queue) == []
        await queue.settle(settled(quick, State.DEFERRED, next_attempt=NOW + 999), NOW + LEASE)
        assert await ids(queue) == []

    async def test_many_settled_at_once(self, queue: OperatedQueue) -> None:
        """Attempts that end together share a commit and keep their own outcomes."""
        await asyncio.gather(*(queue.put(entry(arrived=NOW + i / 100)) for i in range(30)))
        claims = await queue.claim(HOP, 30, NOW + 1, LEASE)
        ends = [State.DELIVERED, State.DEFERRED, State.REFUSED]
        await asyncio.gather(*(queue.settle(settled(c, ends[i % 3]), NOW) for i, c in enumerate(claims)))
        states = [entry.recipients[0].state for entry in await queue.waiting()]
        assert states == [State.DEFERRED, State.REFUSED] * 10

    # Next hops

    async def test_what_is_due(self, queue: OperatedQueue) -> None:
        """Each next hop with work says how long its oldest message waits, longest first; leased mail is no work."""
        await queue.put(entry(arrived=NOW - 5))
        await queue.put(entry(arrived=NOW - 9))
        await queue.put(entry(arrived=NOW - 7, hop=OTHER))
        assert [(d.next_hop, d.oldest) for d in await queue.due(NOW)] == [(HOP, NOW - 9), (OTHER, NOW - 7)]
        await queue.claim(HOP, 9, NOW, LEASE)
        assert [d.next_hop for d in await queue.due(NOW)] == [OTHER]
        assert await queue.next_due(NOW) == NOW + LEASE

    async def test_the_state_of_a_next_hop(self, queue: OperatedQueue) -> None:
        """What the relay learned of a next hop is there for every process, mail or no mail."""
        assert await queue.hop_states() == {}
        down = HopState(HOP, False, NOW, "connection refused", NOW + 30, 2)
        await queue.set_hop_state(down)
        assert await queue.hop_states() == {HOP: down}
        up = HopState(HOP, True, NOW + 9, "", 0, 0, 3, ("192.0.2.9", "2001:db8::9"))
        await queue.set_hop_state(up)
        assert await queue.hop_states() == {HOP: up}
        told = replace(up, offers=(Offer("2001:db8::9", 10240000, False),))
        await queue.set_hop_state(told)
        assert await queue.hop_states() == {HOP: told}

    async def test_rerouted(self, queue: OperatedQueue) -> None:
        """A changed transport.map moves what waits, asks once for each address, and is asked once for each change."""
        await queue.put(entry("anna@example.jp", "bert@example.net"))
        await queue.put(entry("anna@example.jp", state=State.HELD))
        asked: list[str] = []

        def route(address: str) -> str:
            asked.append(address)
            return OTHER if address.endswith(".jp") else HOP

        assert await queue.reroute(route, "v2") == 2
        assert sorted(asked) == ["anna@example.jp", "bert@example.net"]
        assert await queue.reroute(route, "v2") == 0
        assert len(asked) == 2
        (claim,) = await queue.claim(OTHER, 9, NOW, LEASE)
        assert [r.address for r in claim.recipients] == ["anna@example.jp"]

    async def test_a_rules_next_hop(self, queue: OperatedQueue) -> None:
        """What FILTER chose is not the transport.map's to change: not by a reload, nor when put by old routes."""
        await queue.reroute(lambda address: HOP, "v1")
        await queue.put(replace(entry("a@example.jp", hop=OTHER, fixed=True), routes="v1"))
        assert await queue.reroute(lambda address: HOP, "v2") == 0
        await queue.put(replace(entry("b@example.jp", hop=OTHER, fixed=True), routes="v1"))
        assert await queue.reroute(lambda address: HOP, "v2") == 0
        assert [d.next_hop for d in await queue.due(NOW)] == [OTHER]
        assert all(r.fixed for one in await queue.waiting() for r in one.recipients)

    async def test_what_goes_with_an_entry(self, queue: OperatedQueue) -> None:
        """Whether the sender is proven, and how many recipients one stands for, stay with the message."""
        await queue.put(entry(vouched=True, many=3))
        (listed,) = await queue.waiting()
        (claim,) = await queue.claim(HOP, 9, NOW, LEASE)
        assert (listed.vouched, listed.recipients[0].many, claim.vouched) == (True, 3, True)

    async def test_put_by_old_routes(self, queue: OperatedQueue) -> None:
        """A worker that has not read the new map yet puts mail to nobody's harm: it gets its next hop before a try."""
        assert await queue.reroute(lambda address: OTHER, "v2") == 0
        await queue.put(replace(entry("old@example.jp"), routes="v1"))
        await queue.put(replace(entry("held@example.jp", state=State.HELD), routes="v1"))
        await queue.put(replace(entry("new@example.jp", hop=OTHER), routes="v2"))
        await queue.put(entry("own@example.jp", hop=OTHER))
        assert await queue.claim(HOP, 9, NOW, LEASE) == []
        assert {due.next_hop for due in await queue.due(NOW)} == {UNROUTED, OTHER}
        assert await queue.reroute(lambda address: OTHER, "v2") == 1
        assert {due.next_hop for due in await queue.due(NOW)} == {OTHER}
        assert len(await queue.claim(OTHER, 9, NOW, LEASE)) == 3

    async def test_put_before_the_first_routes(self, queue: OperatedQueue) -> None:
        """As long as the relay has named no routes, the worker's are as good."""
        await queue.put(replace(entry(), routes="v1"))
        assert [due.next_hop for due in await queue.due(NOW)] == [HOP]

    # Paused domains

    async def test_paused(self, queue: OperatedQueue) -> None:
        """Mail of a paused domain is accepted, listed and not relayed; other mail goes on; resumed, it is due."""
        before, other = entry("a@Example.JP"), entry("b@example.net")
        await queue.put(before)
        await queue.put(other)
        assert await queue.pause("example.jp", NOW) == 1
        both = entry("c@example.jp", "d@example.net", arrived=NOW + 1)
        await queue.put(both)
        claimed = await queue.claim(HOP, 9, NOW + 1, LEASE)
        assert [[r.address for r in claim.recipients] for claim in claimed] == [["b@example.net"], ["d@example.net"]]
        for claim in claimed:
            await queue.settle(settled(claim), NOW)
        assert (await queue.due(NOW + 1e6), await queue.next_due(NOW)) == ([], None)
        assert [[r.paused for r in e.recipients] for e in await queue.waiting()] == [[True], [True]]
        assert [(t.next_hop, t.recipients) for t in await queue.totals()] == [(HOP, 2)]
        assert await queue.paused() == [Paused("example.jp", NOW, 2)]
        assert await queue.resume("example.jp") is True
        assert [c.id for c in await queue.claim(HOP, 9, NOW + 1, LEASE)] == [before.id, both.id]
        assert (await queue.paused(), await queue.resume("example.jp")) == ([], False)

    async def test_paused_twice(self, queue: OperatedQueue) -> None:
        """A second pause changes nothing: paused since the first."""
        await queue.put(entry())
        assert (await queue.pause("example.jp", NOW), await queue.pause("example.jp", NOW + 9)) == (1, 1)
        assert await queue.paused() == [Paused("example.jp", NOW, 1)]

    async def test_paused_whatever_happens(self, queue: OperatedQueue) -> None:
        """Released, rerouted, flushed, or deferred by an attempt under way: paused mail stays until resumed."""
        await queue.put(entry("tried@example.jp"))
        (claim,) = await queue.claim(HOP, 9, NOW, LEASE)
        held, kept = entry(state=State.HELD), entry(state=State.DISCARDED)
        await queue.put(held)
        await queue.pause("EXAMPLE.jp", NOW)
        await queue.put(kept)
        await queue.settle(settled(claim, State.DEFERRED, next_attempt=NOW + 9), NOW)
        for one in (held, kept):
            await queue.change(one.id, "", State.QUEUED, now=NOW)
        assert await queue.reroute(lambda address: OTHER, "v2") == 3
        assert await queue.flush(["example.jp"], NOW) == 0
        assert await queue.due(NOW + 1e6) == []
        assert [p.recipients for p in await queue.paused()] == [3]
        (taken,) = await queue.take(held.id)
        assert taken.next_hop == OTHER
        await queue.give_back([taken])
        await queue.resume("example.jp")
        assert len(await queue.claim(OTHER, 9, NOW + 9, LEASE)) == 3

    async def test_paused_during_a_flush(self, queue: OperatedQueue) -> None:
        """A flush does not wait for mail that is paused meanwhile: it is withdrawn."""
        await queue.put(entry("a@example.jp"))
        begun = await queue.start_flush([], NOW)
        await queue.pause("example.jp", NOW)
        account = await queue.progress(begun.flush)
        assert account is not None
        assert (account.total, account.withdrawn, account.done) == (1, 1, True)

    # The operator

    async def test_pages(self, queue: OperatedQueue) -> None:
        """The list comes a page at a time, in order of arrival, each entry once."""
        new = [entry(arrived=NOW + i) for i in range(7)]
        await asyncio.gather(*(queue.put(one) for one in reversed(new)))
        seen: list[str] = []
        while page := await queue.waiting(after=seen[-1] if seen else "", limit=3):
            seen += [listed.id for listed in page]
        assert seen == [one.id for one in new]

    async def test_one_entry(self, queue: OperatedQueue) -> None:
        """An id shows its own entry with every fact, an unknown one nothing."""
        new = entry("anna@example.jp", state=State.HELD, reason="header_checks:3: HOLD")
        await queue.put(new)
        await queue.put(entry())
        (listed,) = await queue.waiting(id=new.id)
        assert (listed.id, listed.arrived, listed.sender, listed.size, listed.message_id, listed.reason) == (
            new.id,
            NOW,
            "sender@example.com",
            new.message.size,
            "<m@example.com>",
            "header_checks:3: HOLD",
        )
        assert [(r.address, r.next_hop, r.state, r.reason, r.leased) for r in listed.recipients] == [
            ("anna@example.jp", HOP, State.HELD, "header_checks:3: HOLD", False)
        ]
        assert await queue.waiting(id="unknown") == []

    async def test_active(self, queue: OperatedQueue) -> None:
        """The list says what an attempt has right now."""
        await queue.put(entry())
        await queue.claim(HOP, 1, NOW, LEASE)
        assert (await queue.waiting())[0].recipients[0].leased is True

    async def test_hold_and_release(self, queue: OperatedQueue) -> None:
        """Held mail stays whatever happens, released mail is due at once."""
        new = entry("anna@example.jp", "bert@example.jp")
        await queue.put(new)
        assert await queue.change(new.id, "", State.HELD, now=NOW, reason="by root") == 2
        assert await queue.claim(HOP, 9, NOW, LEASE) == []
        assert [r.reason for r in (await queue.waiting())[0].recipients] == ["by root", "by root"]
        assert await queue.change(new.id, "bert@example.jp", State.QUEUED, now=NOW) == 1
        (claim,) = await queue.claim(HOP, 9, NOW, LEASE)
        assert [r.address for r in claim.recipients] == ["bert@example.jp"]

    async def test_retry_keeps_the_count(self, queue: OperatedQueue) -> None:
        """Deferred mail that an operator wants tried is due now, ahead of the rest, its tries remembered."""
        new = entry()
        await queue.put(new)
        (claim,) = await queue.claim(HOP, 1, NOW, LEASE)
        await queue.settle(settled(claim, State.DEFERRED, next_attempt=NOW + 999), NOW)
        await queue.put(entry())
        await queue.change(new.id, "", State.QUEUED, now=NOW)
        (first,) = await queue.claim(HOP, 1, NOW, LEASE)
        assert (first.id, first.recipients[0].attempts) == (new.id, 1)

    async def test_delete(self, queue: OperatedQueue) -> None:
        """A deleted recipient is gone, with the last one the message."""
        new = entry("anna@example.jp", "bert@example.jp")
        await queue.put(new)
        assert await queue.change(new.id, "anna@example.jp", State.DELETED, now=NOW) == 1
        assert [r.address for r in (await queue.waiting())[0].recipients] == ["bert@example.jp"]
        assert await queue.change(new.id, "", State.DELETED, now=NOW) == 1
        assert await ids(queue) == []
        assert await queue.change(new.id, "", State.DELETED, now=NOW) == 0

    @pytest.mark.parametrize(("end", "left"), [(State.DELIVERED, 0), (State.DEFERRED, 1)])
    async def test_hold_during_an_attempt(self, queue: OperatedQueue, end: State, left: int) -> None:
        """Held during its attempt, mail stays held when the attempt fails and is gone when it was delivered."""
        new = entry()
        await queue.put(new)
        (claim,) = await queue.claim(HOP, 1, NOW, LEASE)
        await queue.change(new.id, "", State.HELD, now=NOW)
        await queue.settle(settled(claim, end, next_attempt=NOW), NOW)
        assert [e.recipients[0].state for e in await queue.waiting()] == [State.HELD] * left

    async def test_take_what_is_held(self, queue: OperatedQueue) -> None:
        """Held and refused mail can be taken to be returned; if that fails it is as it was."""
        new = entry("anna@example.jp", "bert@example.jp", state=State.HELD)
        await queue.put(new)
        (taken,) = await queue.take(new.id, "anna@example.jp")
        assert [r.address for r in taken.recipients] == ["anna@example.jp"]
        assert await queue.take(new.id, "anna@example.jp") == []
        await queue.give_back([taken])
        assert [(r.state, r.leased) for r in (await queue.waiting())[0].recipients] == [(State.HELD, False)] * 2
        assert await queue.claim(HOP, 9, NOW + 1e6, LEASE) == []
        (taken,) = await queue.take(new.id)
        await queue.settle(settled(taken, State.BOUNCED), NOW)
        assert await ids(queue) == []

    @pytest.mark.parametrize("word", ["", "unknown", "\udcff", "' OR 1=1 --", "\x00", "日本"])
    async def test_an_operators_nonsense(self, queue: OperatedQueue, word: str) -> None:
        """An id, address or domain that is none finds nothing, whatever its bytes."""
        new = entry()
        await queue.put(new)
        assert await queue.take(word) == []
        assert await queue.message(word) is None
        assert await queue.claim(word, 9, NOW, LEASE) == []
        assert await queue.flush([word], NOW) == 0
        assert await queue.change(word, word, State.DELETED, now=NOW) == 0
        if word:
            assert await queue.waiting(id=word) == []
            assert await queue.change(new.id, word, State.DELETED, now=NOW) == 0
        assert await ids(queue) == [new.id]

    # Flush

    async def test_flush(self, queue: OperatedQueue) -> None:
        """Deferred mail of the domain is due now, in any case of letters; held and foreign mail is not."""
        here, held, there = entry("a@Example.JP"), entry("b@example.jp", state=State.HELD), entry("c@example.net")
        for one in (here, held, there):
            await queue.put(one)
        for claim in await queue.claim(HOP, 9, NOW, LEASE):
            await queue.settle(settled(claim, State.DEFERRED, next_attempt=NOW + 999), NOW)
        await queue.set_hop_state(HopState(HOP, False, NOW, "down", NOW + 500, 3))
        assert await queue.flush(["EXAMPLE.jp"], NOW + 1) == 1
        assert (await queue.hop_states())[HOP].probe_at == 0
        assert [claim.id for claim in await queue.claim(HOP, 9, NOW + 1, LEASE)] == [here.id]
        assert await queue.flush([], NOW + 1) == 2

    async def test_flush_account(self, queue: OperatedQueue) -> None:
        """The account of a flush adds up: what came later is not in it, a second try counts nothing."""
        addresses = [f"{name}@example.jp" for name in ("ok", "busy", "no", "gone", "kept", "later")]
        new = [entry(address) for address in addresses]
        for one in new:
            await queue.put(one)
        begun = await queue.start_flush([], NOW)
        assert (begun.total, begun.waiting) == (6, 6)
        await queue.put(entry())
        by_address = {c.recipients[0].address: c for c in await queue.claim(HOP, 9, NOW, LEASE)}
        for name, state in (("ok", State.DELIVERED), ("busy", State.DEFERRED), ("no", State.REFUSED)):
            claim = by_address[f"{name}@example.jp"]
            await queue.settle(settled(claim, state, next_attempt=NOW + 1), NOW)
        await queue.change(new[3].id, "", State.DELETED, now=NOW)
        await queue.change(new[4].id, "", State.HELD, now=NOW)
        await queue.settle(settled(by_address["anna@example.jp"]), NOW)
        for claim in await queue.claim(HOP, 9, NOW + 1, LEASE):
            await queue.settle(settled(claim), NOW)
        account = await queue.progress(begun.flush)
        assert account is not None
        assert (account.total, account.waiting, account.delivered) == (6, 1, 1)
        assert (account.deferred, account.refused, account.withdrawn) == (1, 1, 2)

    async def test_two_flushes(self, queue: OperatedQueue) -> None:
        """A flush that begins during another takes nothing out of its account."""
        await queue.put(entry("a@example.jp"))
        await queue.put(entry("b@example.net"))
        all_of_it = await queue.start_flush([], NOW)
        one_domain = await queue.start_flush(["example.net"], NOW)
        for claim in await queue.claim(HOP, 9, NOW, LEASE):
            await queue.settle(settled(claim), NOW)
        accounts = [await queue.progress(all_of_it.flush), await queue.progress(one_domain.flush)]
        assert [(a.total, a.delivered, a.done) for a in accounts if a] == [(2, 2, True), (1, 1, True)]

    async def test_flush_of_a_next_hop_that_is_down(self, queue: OperatedQueue) -> None:
        """One try that finds the next hop down again was the try of all that the flush waits for there."""
        for name in ("a", "b", "c"):
            await queue.put(entry(f"{name}@example.jp"))
        await queue.set_hop_state(HopState(HOP, False, NOW - 9, "refused", NOW + 99, 1))
        begun = await queue.start_flush([], NOW)
        account = await queue.progress(begun.flush)
        assert account == begun
        (claim,) = await queue.claim(HOP, 1, NOW, LEASE)
        await queue.set_hop_state(HopState(HOP, False, NOW - 9, "refused", NOW + 99, 2))
        account = await queue.progress(begun.flush)
        assert account is not None
        assert (account.waiting, account.deferred) == (1, 2)
        await queue.settle(settled(claim, State.DEFERRED, next_attempt=NOW + 99), NOW)
        account = await queue.progress(begun.flush)
        assert account is not None
        assert (account.done, account.total, account.deferred) == (True, 3, 3)

    # Quarantine

    async def test_discarded(self, queue: OperatedQueue) -> None:
        """Discarded mail is in quarantine, not in the queue: not listed there, never claimed, never flushed."""
        new = entry(state=State.DISCARDED, reason="header_checks:2")
        await queue.put(new)
        assert (await ids(queue), await queue.claim(HOP, 9, NOW + 1e9, LEASE), await queue.flush([], NOW)) == (
            [],
            [],
            0,
        )
        (listed,) = await queue.quarantined()
        assert (listed.id, listed.recipients[0].reason) == (new.id, "header_checks:2")

    async def test_unreturned(self, queue: OperatedQueue) -> None:
        """What can neither be delivered nor returned lies in quarantine with its reason, until it is released."""
        new = entry()
        await queue.put(new)
        (claim,) = await queue.claim(HOP, 9, NOW, LEASE)
        await queue.settle(settled(claim, State.UNRETURNED, next_attempt=NOW), NOW)
        assert await queue.waiting() == []
        (kept,) = await queue.quarantined()
        assert [(r.state, r.reason, r.leased) for r in kept.recipients] == [(State.UNRETURNED, "said", False)]
        assert await queue.overdue(NOW + 1, 1 << 30) == [(new.id, NOW)]
        assert await queue.claim(HOP, 9, NOW + 1e6, LEASE) == []
        await queue.change(new.id, "", State.QUEUED, now=NOW)
        (again,) = await queue.claim(HOP, 9, NOW, LEASE)
        assert again.recipients[0].attempts == 1

    async def test_released_from_quarantine(self, queue: OperatedQueue) -> None:
        """Released, it is mail like any other."""
        new = entry(state=State.DISCARDED)
        await queue.put(new)
        await queue.change(new.id, "", State.QUEUED, now=NOW)
        assert ([e.id for e in await queue.quarantined()], await ids(queue)) == ([], [new.id])
        assert len(await queue.claim(HOP, 9, NOW, LEASE)) == 1
