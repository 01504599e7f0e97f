"""samples: entries as intake makes them, for the queue's tests."""

from backupmx.mail.envelope import Client, Envelope, Recipient, Tls
from backupmx.mail.message import Message, Spool
from backupmx.queue.entry import Claim, NewEntry, NewRecipient, Outcome, Settlement, State, new_id

HOP = "smtp:[primary1.example.net]"
OTHER = "smtp:[primary2.example.net]"
NOW = 1_800_000_000.0
CLIENT = Client("192.0.2.1", 40025, "mx.example.com", "helo.example.com", "ESMTP", Tls("TLSv1.3", "AES", 256))
HEADERS = (b"Received: from somewhere\n\tby here", b"Subject: hello")


def entry(
    *addresses: str,
    hop: str = HOP,
    arrived: float = NOW,
    state: State = State.QUEUED,
    body: bytes = b"\r\nHello.\r\n",
    reason: str = "",
    id: str = "",
    spool: Spool | None = None,
    headers: tuple[bytes, ...] = HEADERS,
    fixed: bool = False,
    many: int = 1,
    vouched: bool = False,
) -> NewEntry:
    """A message to these addresses, all by one next hop."""
    addresses = addresses or ("anna@example.jp",)
    return NewEntry(
        id or new_id(arrived),
        arrived,
        Envelope("sender@example.com", tuple(Recipient(a) for a in addresses), "8BITMIME", True, "HDRS", "env+2Bid"),
        tuple(NewRecipient(a, hop, "FAILURE", f"rfc822;{a}", state, fixed=fixed, many=many) for a in addresses),
        Message(headers, (body,) if body else (), spool),
        CLIENT,
        "<m@example.com>",
        reason,
        vouched=vouched,
    )


def outcome(
    address: str, state: State = State.DELIVERED, *, next_attempt: float = 0.0, reason: str = "said"
) -> Outcome:
    return Outcome(address, state, reason, "2.0.0", "primary1.example.net[192.0.2.9]:25", next_attempt)


def settled(claim: Claim, state: State = State.DELIVERED, *, next_attempt: float = 0.0) -> Settlement:
    """One outcome for all recipients of a claim."""
    return Settlement(claim.id, tuple(outcome(r.address, state, next_attempt=next_attempt) for r in claim.recipients))


def wire(message: Message) -> bytes:
    return b"".join(bytes(chunk) for chunk in message.chunks())
