"""growth: how do time and memory grow with what there is more of?  Curves, beside Postfix, in one run.

    python -m benchmarks.growth [AXIS …] [--scale X] [--json FILE] [--plots FOLDER]

Each axis in a run of its own, both sides in turn at each point:

    size         octets of a message, 1 KB to 50 MB, 4 sessions
    sessions     connections at once, 1 to 1,000; a message of 4 KB each
    recipients   of a message of 4 KB, 1 to 1,000
    rules        in header_checks, 10 to 10,000, anchored to names the message lacks
    queue        messages that wait, 1 to 1,000,000 (ours alone): to the first delivery
    idle         clients that only hold their connection, 0 to 10,000 (Postfix to 1,000)
    primaries    relay domains with a primary each, 1 to 1,000, a tenth of them dead

ms is CPU a message of all processes of a side (queue: time to the first
delivery), MiB the largest process (idle: all of them, shared memory once).
Below each table stands the exponent: b in y = a·x^b, fitted to the logarithms
of the upper half of the points.  0 does not grow, 1 grows as x does.

--scale shrinks the number of messages and leaves out points that cost most.
--plots writes growth-AXIS.svg.

BUGS
    CPU is counted in hundredths of a second: points with few messages are coarse.
    Source, sink and servers share the machine.
"""

import argparse
import asyncio
import json
import math
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from itertools import count, islice
from pathlib import Path
from statistics import linear_regression

from benchmarks import flush, idle, plots
from benchmarks.servers import CONFIG, RULES, Server, Sink, machine, quiet, send, servers, timed
from tests.neighbours.unbound import free_port

Point = Mapping[str, float]
"""What was measured at one place of an axis, by column."""
Axis = Callable[[float], Iterator[tuple[float, Point]]]


def size(scale: float) -> Iterator[tuple[float, Point]]:
    with servers({"": RULES}, more={"message_size_limit": "60000000"}) as running:
        for octets in (1 << 10, 1 << 12, 1 << 14, 1 << 16, 1 << 18, 1 << 20, 1 << 22, 1 << 24, 50_000_000):
            many = max(8, int(scale * min(1000, 200_000_000 // octets)))
            yield octets, both(running, ["-s", "4", "-l", str(octets)], many)


def sessions(scale: float) -> Iterator[tuple[float, Point]]:
    more = {"default_process_limit": "1100", "smtpd_client_connection_count_limit": "0"}
    with servers({"": RULES}, more=more) as running:
        for together in (1, 3, 10, 30, 100, 300, 1000):
            yield together, both(running, ["-s", str(together), "-l", "4096"], max(together, int(2000 * scale)))


def recipients(scale: float) -> Iterator[tuple[float, Point]]:
    """smtp-sink counts messages, and Postfix brings a primary 50 recipients at a time: it is asked for more here."""
    more = {"smtp_destination_recipient_limit": "1000", "default_destination_recipient_limit": "1000"}
    with servers({"": RULES}, more=more) as running:
        for many in (1, 3, 10, 30, 100, 300, 1000):
            options = ["-s", "4", "-d", "-l", "4096", "-r", str(many)]
            yield many, both(running, options, max(8, int(scale * 2000 / many**0.5)))


def rules(scale: float) -> Iterator[tuple[float, Point]]:
    for many in (10, 100, 1000, 10_000):
        with tempfile.NamedTemporaryFile(prefix="backupmx-bench-") as file:
            file.write(b"".join(islice(absent(), many - 8)) + RULES.read_bytes())
            file.flush()
            Path(file.name).chmod(0o644)
            with servers({"": Path(file.name)}) as running:
                yield many, both(running, ["-s", "20", "-d", "-l", "4096"], int(2000 * scale))


def absent() -> Iterator[bytes]:
    for n in count(1):
        yield b"/^X-Absent-%d:\\s+foo/ REJECT x\n" % n


def queue(scale: float) -> Iterator[tuple[float, Point]]:
    for many in (1, 10, 100, 1000, 10_000, 100_000, 1_000_000):
        if many > 1_000_000 * scale:
            continue
        with tempfile.TemporaryDirectory(prefix="backupmx-bench-") as name:
            _, found = flush.measured(Path(name), many)
        yield many, {"backupmx ms": found.first * 1000, "backupmx MiB": found.relay}


def idle_clients(scale: float) -> Iterator[tuple[float, Point]]:
    idle.room_for(10_000)
    more = {**idle.POSTFIX, "default_process_limit": "1100"}
    with servers({"": RULES}, config=CONFIG.replace("[relay]", f"{idle.SMTP}[relay]"), more=more) as running:
        for many in (1, 10, 100, 300, 1000, 3000, 10_000):
            point = {}
            for (who, _), (server, sink) in running.items():
                if who == "Postfix" and many > 1000:
                    continue
                clients = idle.idle(server.port, many)
                quiet(server)
                point[f"{who} MiB"] = idle.memory(server) / (1 << 20)
                messages = max(20, int(1000 * scale))
                load = partial(send, server, ["-s", "20", "-l", "4096"], messages)
                if who == "backupmx" or many < 1000:  # a Postfix that is full takes nobody else
                    point[f"{who} ms"] = timed(server, sink, load, messages)[1]
                for client in clients:
                    client.close()
                quiet(server)
            yield many, point


def primaries(scale: float) -> Iterator[tuple[float, Point]]:
    nobody = free_port()
    for many in (1, 10, 100, 1000):
        dead = range(9, many, 10)
        map_ = "".join(
            f"d{n}.example smtp:[127.1.{n >> 8}.{n & 255}]:{nobody if n in dead else '{sink}'}\n" for n in range(many)
        )
        with servers({"": RULES}, map_, host="") as running:
            point = {}
            messages = max(many, int(2000 * scale))
            for (who, _), (server, sink) in running.items():
                work = partial(asyncio.run, spread(server.port, many, messages))
                living = sum(n % many not in dead for n in range(messages))
                _, ms, mib = timed(server, sink, lambda work=work: work(), living)  # type: ignore[misc]
                point |= {f"{who} ms": ms, f"{who} MiB": mib}
        yield many, point


async def spread(port: int, domains: int, messages: int) -> None:
    """Over 20 kept connections, each message for the next domain."""
    numbers = iter(range(messages))

    async def session() -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        await reader.readline()
        writer.write(b"HELO client.example\r\n")
        await reader.readline()
        for n in numbers:
            writer.write(b"MAIL FROM:<s@upstream.example>\r\nRCPT TO:<u@d%d.example>\r\nDATA\r\n" % (n % domains))
            for code in (b"250", b"250", b"354"):
                line = await reader.readline()
                if not line.startswith(code):
                    raise RuntimeError(f"{code!r} expected, {line!r}")
            writer.write(b"Subject: %d\r\n\r\n" % n + b"a line of text in the body\r\n" * 140 + b".\r\n")
            await reader.readline()
        writer.close()

    await asyncio.gather(*(session() for _ in range(20)))


AXES: dict[str, Axis] = {
    "size": size, "sessions": sessions, "recipients": recipients, "rules": rules, "queue": queue,
    "idle": idle_clients, "primaries": primaries,
}  # fmt: skip


def both(running: Mapping[tuple[str, str], tuple[Server, Sink]], options: Sequence[str], messages: int) -> Point:
    point = {}
    for (who, _), (server, sink) in running.items():
        _, ms, mib = timed(server, sink, partial(send, server, list(options), messages), messages)
        point |= {f"{who} ms": ms, f"{who} MiB": mib}
    return point


def exponent(points: Sequence[tuple[float, float]]) -> float:
    """b of y = a·x^b over the upper half of the axis, where what is constant has lost its weight; nan: too few."""
    upper = [(math.log(x), math.log(y)) for x, y in points[len(points) // 2 - 1 :] if x > 0 and y > 0]
    if len(upper) < 2:
        return math.nan
    return linear_regression([x for x, _ in upper], [y for _, y in upper]).slope


def report(axis: str, points: Sequence[tuple[float, Point]]) -> str:
    columns = list(dict.fromkeys(name for _, point in points for name in point))
    lines = [f"{axis:>12} " + "".join(f"{name:>15}" for name in columns)]
    for x, point in points:
        lines.append(f"{x:>12,.0f} " + "".join(f"{point[c]:>15.2f}" if c in point else " " * 15 for c in columns))
    exponents = (exponent([(x, point[c]) for x, point in points if c in point]) for c in columns)
    return "\n".join([*lines, f"{'exponent':>12} " + "".join(f"{one:>15.2f}" for one in exponents), ""])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("axis", nargs="*", default=list(AXES), help=", ".join(AXES))
    parser.add_argument("--scale", type=float, default=1.0)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--plots", type=Path)
    given = parser.parse_args()
    if unknown := set(given.axis) - set(AXES):
        parser.error(f"no axis {', '.join(sorted(unknown))}")
    print(machine())
    results = {}
    for axis in given.axis:
        results[axis] = list(AXES[axis](given.scale))
        print(report(axis, results[axis]), flush=True)
        if given.plots:
            plots.draw(axis, results[axis], given.plots / f"growth-{axis}.svg")
    if given.json:
        given.json.write_text(json.dumps(results, indent=1))


if __name__ == "__main__":
    main()
