"""rules_relay: how much slower does a long header_checks make a server?  Beside Postfix, in one run.

    python -m benchmarks.rules_relay [--rounds N] [--messages N] [--json FILE]

smtp-source → us or Postfix → smtp-sink: messages of 30 headers and 4 KB over 20
kept connections, interleaved rounds, medians.  Four servers: each of the two
with the first user's table, and with the same behind 992 rules more, which are
anchored to names the message lacks.

The clock runs until the sink has counted every message.  cpu is what the
server's processes used, user and system, for each message: of the two figures
the one that a busy machine disturbs less.

Promise   the drop, 1 - (1,000 rules / first user), is smaller here than there.

BUGS      Source, sinks and servers share the machine; only ratios of one run
          mean anything, and a drop of a few percent is noise.
"""

import argparse
import json
import tempfile
from functools import partial
from pathlib import Path
from statistics import median

from benchmarks.rules import ABSENT, message
from benchmarks.servers import RULES, machine, send, servers, timed

FIRST, THOUSAND = "first user", "1,000 rules"
WHO = ("backupmx", "Postfix")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--messages", type=int, default=2000)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    results: dict[tuple[str, str], list[tuple[float, float]]] = {}
    with tempfile.TemporaryDirectory(prefix="backupmx-bench-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        thousand, mail = folder / "thousand", folder / "message"
        thousand.write_bytes(ABSENT + RULES.read_bytes())
        mail.write_bytes(message().replace(b"\r\n", b"\n"))
        with servers({FIRST: RULES, THOUSAND: thousand}) as running:
            for _ in range(arguments.rounds):
                for which, (server, sink) in running.items():
                    deliver = partial(send, server, ["-s", "20", "-d", "-F", str(mail)], arguments.messages)
                    rate, used, _ = timed(server, sink, deliver, arguments.messages)
                    results.setdefault(which, []).append((rate, used))
    print(machine())
    report({which: (median(r for r, _ in of), median(c for _, c in of)) for which, of in results.items()})
    if arguments.json:
        arguments.json.write_text(json.dumps({f"{who}, {table}": of for (who, table), of in results.items()}))


def report(found: dict[tuple[str, str], tuple[float, float]]) -> None:
    print(f"{'':<10} {FIRST:>18} {THOUSAND:>18} {'drop':>7} {'cpu ms':>8} {'cpu ms':>8} {'more':>7}")
    for who in WHO:
        (few, few_cpu), (many, many_cpu) = found[who, FIRST], found[who, THOUSAND]
        print(
            f"{who:<10} {few:>12.0f} msg/s {many:>12.0f} msg/s {1 - many / few:>7.1%}"
            f" {few_cpu:>8.2f} {many_cpu:>8.2f} {many_cpu / few_cpu - 1:>7.1%}"
        )


if __name__ == "__main__":
    main()
