"""end_to_end: how long until the primary has everything?  Beside Postfix, in one run.

    python -m benchmarks.end_to_end [--rounds N] [--scale X] [--json FILE]

smtp-source → us or Postfix → smtp-sink, interleaved rounds, medians, ratio to
Postfix.  Both keep the same promise (on the disk before 250), apply the first
user's header_checks, relay by the same transport.map; neither asks an engine.
The clock runs from smtp-source's start until the sink has counted every message.

    fresh    4 KB, 20 sessions, a connection each
    reused   4 KB, 20 sessions, kept connections
    large    1 MiB, 4 sessions
    huge     25 MiB, 4 sessions
    flush    what waited while the primary was down, 4 KB; from the primary's
             return and `backupmx flush` / `postqueue -f` until it has everything

cpu is what the server's processes used, user and system, for each message;
MiB is the most that one of them had in memory.

BUGS
    Source, sink and server share the machine: with more cores both would be
    faster.  Only ratios of one run mean anything.
"""

import argparse
import json
from pathlib import Path
from statistics import median

from benchmarks.servers import RULES, Server, Sink, machine, quiet, send, servers, timed

LOADS = {
    "fresh": (["-s", "20", "-l", "4096"], 3000),
    "reused": (["-s", "20", "-l", "4096", "-d"], 5000),
    "large": (["-s", "4", "-l", "1048576"], 200),
    "huge": (["-s", "4", "-l", "26214400"], 16),
    "flush": (["-s", "20", "-l", "4096", "-d"], 5000),
}


def measure(server: Server, sink: Sink, load: str, messages: int) -> tuple[float, float, float]:
    """-> as `timed`"""
    options, _ = LOADS[load]
    if load != "flush":
        return timed(server, sink, lambda: send(server, options, messages), messages)
    sink.stop()
    send(server, options, messages)
    quiet(server)  # both find out that nobody is there
    sink.start()
    return timed(server, sink, server.flush, messages)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--scale", type=float, default=1.0, help="of the number of messages")
    parser.add_argument("--loads", default=",".join(LOADS))
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    loads = arguments.loads.split(",")
    results: dict[str, dict[str, list[tuple[float, float, float]]]] = {load: {} for load in loads}
    with servers({"first user": RULES}) as running:
        for _ in range(arguments.rounds):
            for load in loads:
                for (who, _table), (server, sink) in running.items():
                    messages = max(8, int(LOADS[load][1] * arguments.scale))
                    results[load].setdefault(who, []).append(measure(server, sink, load, messages))
    print(machine())
    print(
        f"{'load':<8} {'backupmx msg/s':>15} {'Postfix msg/s':>15} {'ratio':>7} {'cpu ms':>8} {'Postfix cpu ms':>15}"
        f" {'MiB':>5} {'Postfix MiB':>12}"
    )
    for load, by in results.items():
        (ours, our_cpu, our_peak), (theirs, their_cpu, their_peak) = (
            tuple(median(figures) for figures in zip(*by[who], strict=True)) for who in ("backupmx", "Postfix")
        )
        print(
            f"{load:<8} {ours:>15.{1 if ours < 100 else 0}f} {theirs:>15.{1 if theirs < 100 else 0}f}"
            f" {ours / theirs:>7.2f} {our_cpu:>8.2f} {their_cpu:>15.2f} {our_peak:>5.0f} {their_peak:>12.0f}"
        )
    if arguments.json:
        arguments.json.write_text(json.dumps(results))


if __name__ == "__main__":
    main()
