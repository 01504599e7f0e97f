"""flood: one message for very many recipients, in many transactions, before a spam engine.  Beside Postfix.

    python -m benchmarks.flood [--rounds N] [--transactions N] [--beside N] [--json FILE]

A spam run: the same 4 KB in each transaction, five recipients a transaction,
20 kept connections, from one client.  Both sides ask one spamd of their own
kind with Debian's own rules and two children: we by its protocol, Postfix
through spamass-milter on a Unix socket.  We remember the verdict on a message
(checks.md); each round's message is another one, so its first transaction is
scanned.

The rate is transactions a second until smtp-sink has counted them all.  Postfix
is given fewer, since each costs it a scan and the rate does not depend on their
number; ours does, the first scan being shared by all.

BUGS
    spamd asks no network here (--local): in life a scan takes longer, and the
    ratio is larger.
"""

import argparse
import json
import tempfile
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from statistics import median

from benchmarks.servers import CONFIG, Ours, Server, Sink, Theirs, listens, machine, quiet, send, timed, wait
from tests.neighbours.spamass_milter import spamass_milter
from tests.neighbours.spamd import spamd
from tests.neighbours.unbound import free_port

OURS = CONFIG.replace('spam = {{ engine = "off" }}', 'spam = {{ engine = "spamd", address = "SPAMD" }}')
LINE = "The quick offer that jumps over every lazy dog, only this week\n"


def letter(folder: Path, number: int) -> Path:
    """The message of a round."""
    path = folder / f"letter-{number}"
    head = (
        f"From: s@upstream.example\nTo: u@example.jp\nSubject: news {number}\nMessage-ID: <{number}@upstream.example>\n"
    )
    path.write_text(f"{head}\n{LINE * ((4096 - len(head)) // len(LINE))}")
    return path


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--transactions", type=int, default=2000)
    parser.add_argument("--beside", type=int, default=200, help="transactions for Postfix")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    results: dict[str, list[tuple[float, float]]] = {}
    with tempfile.TemporaryDirectory(prefix="backupmx-bench-") as name, ExitStack() as stack:
        folder = Path(name)
        folder.chmod(0o755)
        running = started(folder, stack)
        for number in range(given.rounds):
            for who, (server, sink) in running.items():
                transactions = given.transactions if who == "backupmx" else given.beside
                options = ["-s", "20", "-d", "-N", "-r", "5", "-F", str(letter(folder, number))]
                rate, used, _ = timed(server, sink, partial(send, server, options, transactions), transactions)
                results.setdefault(who, []).append((rate, used))
    print(machine())
    for who, of in results.items():
        print(f"{who:<10} {median(rate for rate, _ in of):>8.0f} transactions a second")
    ours, theirs = (median(rate for rate, _ in results[who]) for who in ("backupmx", "Postfix"))
    print(f"{'ratio':<10} {ours / theirs:>8.1f}")
    if given.json:
        given.json.write_text(json.dumps(results))


def started(folder: Path, stack: ExitStack) -> dict[str, tuple[Server, Sink]]:
    def new(name: str) -> Path:
        (folder / name).mkdir()
        return folder / name

    our_engine, their_engine = (
        stack.enter_context(spamd(new(f"spamd-{who}"), stock=True, children=2)) for who in ("ours", "theirs")
    )
    milter = stack.enter_context(spamass_milter(new("milter"), their_engine))
    Path(milter.removeprefix("unix:")).chmod(0o666)
    sinks = {who: Sink(new(f"sink-{who}")) for who in ("backupmx", "Postfix")}
    for sink in sinks.values():
        sink.start()
        stack.callback(sink.stop)
    more = {"smtpd_milters": milter, "milter_default_action": "tempfail"}
    theirs = Theirs(stack, folder / "postfix", sinks["Postfix"].port, more)
    config = OURS.replace("SPAMD", our_engine)
    ours = Ours(folder / "ours", sinks["backupmx"].port, free_port(), config)
    stack.callback(ours.stop)
    both: dict[str, Server] = {"backupmx": ours, "Postfix": theirs}
    for server in both.values():
        wait(lambda port=server.port: listens(port))  # type: ignore[misc]
        quiet(server)
    return {who: (server, sinks[who]) for who, server in both.items()}


if __name__ == "__main__":
    main()
