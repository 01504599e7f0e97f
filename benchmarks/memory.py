"""memory: what do a thousand clients that only hold their connection cost?  Beside Postfix, in one run.

    python -m benchmarks.memory [--rounds N] [--connections N] [--json FILE]

N clients connect, say EHLO and then nothing, to `backupmx serve` and to
Postfix in turn.  MiB is the proportional set size of all processes of a side
while they wait: what processes share counts once.

BUGS
    The kernel's own buffers and process structures are in nobody's figure;
    Postfix, a process each, has more of those.
"""

import argparse
import json
from pathlib import Path
from statistics import median

from benchmarks.idle import POSTFIX, SMTP, idle, memory, room_for
from benchmarks.servers import CONFIG, RULES, Server, machine, quiet, servers


def held(server: Server, connections: int) -> float:
    """MiB of all processes while so many clients are idle."""
    clients = idle(server.port, connections)
    quiet(server)
    used = memory(server) / (1 << 20)
    for client in clients:
        client.close()
    quiet(server)
    return used


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--connections", type=int, default=1000)
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    room_for(given.connections)
    results: dict[str, list[tuple[float]]] = {}
    more = {**POSTFIX, "default_process_limit": str(given.connections + 100)}
    with servers({"first user": RULES}, config=CONFIG.replace("[relay]", f"{SMTP}[relay]"), more=more) as running:
        for _ in range(given.rounds):
            for (who, _), (server, _) in running.items():
                results.setdefault(who, []).append((held(server, given.connections),))
    print(machine())
    for who, of in results.items():
        print(f"{who:<10} {median(one for (one,) in of):>8.0f} MiB with {given.connections} idle clients")
    if given.json:
        given.json.write_text(json.dumps(results))


if __name__ == "__main__":
    main()
