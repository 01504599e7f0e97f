"""client_policy: what does a connection cost when all of the client policy is on and every answer is known?

    python -m benchmarks.client_policy [--rounds N]

One client after another of 10,000: the visit begins (own list of 1,000 networks,
five lists in the DNS, its name, the wait before the greeting), and its first
recipient is judged and taken.  Microseconds of CPU for each, best of the rounds.

    off     no policy: what the session asks to find that out
    on      everything, answers in the resolver's memory, clients in clients.db

BUGS
    The answers come from a dictionary that does what the resolver's cache does for a
    hit, without its expiry.  clients.db lies in the system's cache.
"""

import argparse
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

from backupmx.journal import silent
from backupmx.mail.envelope import Client
from backupmx.net.dns import Answer, DNSTrouble
from backupmx.receive.policy import access, dnsbl
from backupmx.receive.policy.acquainted import Acquainted
from backupmx.receive.policy.clients import ClientRules, Clients

ADDRESSES = [f"10.{n >> 8}.{n & 255}.7" for n in range(10_000)]
ZONES = tuple(f"list{n}.example" for n in range(5))
NOTHING = Answer((), exists=False)


class Remembered:
    """A resolver that knows every answer."""

    def __init__(self) -> None:
        self.answers: dict[tuple[str, str], Answer] = {}

    def known(self, name: str, rdtype: str) -> Answer | DNSTrouble | None:
        return self.answers.get((name.rstrip(".").lower(), rdtype.upper()), NOTHING)

    def lookup(self, name: str, rdtype: str) -> Awaitable[Answer]:
        raise AssertionError(f"{name} {rdtype}: everything is remembered")


def policy(folder: Path) -> Clients:
    met = Acquainted(folder / "clients.db", silent())
    for address in ADDRESSES[:5000]:
        met.meet(address)
    met.flush()
    for address in ADDRESSES[5000:]:
        met.meet(address)
    met.flush()
    rules = ClientRules(
        "mx2.example.net",
        access=access.parse("".join(f"172.16.{n >> 4}.{n % 16 * 16}/28 REJECT\n" for n in range(1000)), "clients"),
        sites=dnsbl.parse(ZONES), dnsbl_action="enforce", pregreet="enforce",
        reject_invalid_helo_hostname=True, reject_non_fqdn_helo_hostname=True, reject_helo_as_us=True,
        reject_unknown_client_hostname=True, reject_unknown_reverse_client_hostname=True,
        reject_non_fqdn_sender=True, reject_unauth_pipelining=True,
    )  # fmt: skip
    return Clients(rules, Remembered(), silent(), met)


def on(clients: Clients) -> None:
    for address in ADDRESSES:
        client = Client(address, 4711, "mail.example.org", "mail.example.org", "ESMTP", daemon=("192.0.2.1", 25))
        visit = clients.visit(address, trusted=False)
        assert visit is not None
        assert not visit.asks
        assert not visit.wait()
        assert visit.refusal(client, "a@example.org") is None
        assert visit.seen(client) is client


def off(clients: Clients) -> None:
    for address in ADDRESSES:
        client = Client(address, 4711, "mail.example.org", "mail.example.org", "ESMTP", daemon=("192.0.2.1", 25))
        assert client.address == address


def cost(work: Callable[[Clients], None], clients: Clients) -> float:
    began = time.process_time()
    work(clients)
    return (time.process_time() - began) / len(ADDRESSES) * 1e6


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args().rounds
    with tempfile.TemporaryDirectory(prefix="client-policy-") as folder:
        clients = policy(Path(folder))
        rows = {"off": [0.0], "on": [0.0]}
        rows = {work.__name__: [cost(work, clients) for _ in range(rounds)] for work in (off, on)}
    for name, costs in rows.items():
        print(f"{name:<4} {min(costs):6.1f} us a connection")


if __name__ == "__main__":
    main()
