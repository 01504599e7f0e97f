"""samples: claims and outcomes for tests of pure parts."""

from backupmx.mail.envelope import Client
from backupmx.mail.message import Message
from backupmx.queue.entry import Claim, ClaimedRecipient, Outcome, State

HEADERS = (b"From: Somebody <a@client.example>\nTo: u@example.jp\nSubject: a test\n\tfolded",)
CLIENT = Client("192.0.2.1", 40025, "mail.client.example", "mail.client.example", "ESMTP")
MESSAGE = Message(HEADERS, (b"\r\nsecret words\r\n",))


def claimed(address: str = "u@example.jp", *, notify: str = "", orcpt: str = "", attempts: int = 0) -> ClaimedRecipient:
    return ClaimedRecipient(address, notify, orcpt, attempts)


def claim(
    *recipients: ClaimedRecipient, sender: str = "a@client.example", arrived: float = 1000.0,
    message: Message = MESSAGE, ret: str = "", envid: str = "", client: Client | None = CLIENT, vouched: bool = True,
) -> Claim:  # fmt: skip
    return Claim(
        "4gXyz", arrived, "smtp:[p1]", sender, recipients or (claimed(),), message, message.size, ret=ret, envid=envid,
        client=client, vouched=vouched,
    )  # fmt: skip


def outcome(
    address: str = "u@example.jp", state: State = State.BOUNCED, reason: str = "host p1[192.0.2.1] said: 550 5.1.1 no",
    status: str = "5.1.1", relay: str = "p1[192.0.2.1]:25",
) -> Outcome:  # fmt: skip
    return Outcome(address, state, reason, status, relay)
