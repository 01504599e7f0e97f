"""recipients: what does it cost to ask who exists, to fetch a list of 100,000, and to keep what primaries said?

    python -m benchmarks.recipients [--rounds N]

    lookup   Recipients.know over a list of 100,000: an address it has, one it has not, one a primary spoke of;
             microseconds of CPU, the best of the rounds
    memory   of a process that has asked for all of them, KiB above one that has asked for the first
    sync     that list for the first time, once more unchanged, and with one in a hundred exchanged; seconds
    taught   a million addresses and a quarter more, in lessons of 5,000: microseconds an address; then tidied:
             how many are left, seconds, and the size of recipients.db

BUGS
    recipients.db lies in the system's cache.  The list comes from memory: a directory takes longer to answer.
    Seconds are of the clock on the wall; with neighbours on the machine they are theirs too.
"""

import argparse
import os
import random
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from backupmx.recipients.source_import import ImportedSource
from backupmx.recipients.standing import Standing, Taught
from backupmx.recipients.store import FILE, MOST_TAUGHT, Store
from backupmx.recipients.sync import sync
from backupmx.recipients.who import Lists, Recipients

MANY = 100_000
ASKED = 20_000
LESSON = 5000
NOW = time.time()


def people(many: int = MANY, word: str = "user") -> list[str]:
    return [f"{word}{n}@example.jp" for n in range(many)]


def synced(store: Store) -> Iterator[tuple[str, float]]:
    """(which sync, seconds)"""
    changed = [f"new{n}@example.jp" if n % 100 == 0 else one for n, one in enumerate(people())]
    for which, lines in (("first", people()), ("unchanged", people()), ("1 % exchanged", changed), ("back", people())):
        began = time.perf_counter()
        sync(ImportedSource("list", lines=lines), store, max_shrink=0.05, now=NOW)
        yield which, time.perf_counter() - began


def lookup(recipients: Recipients, addresses: Sequence[str], standing: Standing) -> float:
    """-> microseconds of CPU an address."""
    assert all(recipients.know(address).standing is standing for address in addresses)
    began = time.process_time()
    for address in addresses:
        recipients.know(address)
    return (time.process_time() - began) / len(addresses) * 1e6


def own(path: Path, many: int) -> int:
    """KiB that are a new process's own when it has asked for so many; what it reads of the file is the system's."""
    reader, writer = os.pipe()
    if (child := os.fork()) == 0:
        recipients = Recipients(None, Store(path), Lists({"list": ()}))
        for n in range(many):
            recipients.know(f"user{n}@example.jp")
        rollup = Path("/proc/self/smaps_rollup").read_text("ascii")
        os.write(writer, rollup.partition("Private_Dirty:")[2].split()[0].encode())
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as answer:
        kib = int(answer.read())
    os.waitpid(child, 0)
    return kib


def taught(store: Store) -> float:
    """-> microseconds an address."""
    addresses = people(MOST_TAUGHT * 5 // 4, "taught")
    random.Random(7).shuffle(addresses)
    began = time.perf_counter()
    for at in range(0, len(addresses), LESSON):
        store.teach({address: Taught(True, NOW + at) for address in addresses[at : at + LESSON]})
    return (time.perf_counter() - began) / len(addresses) * 1e6


def size(path: Path) -> int:
    return sum(one.stat().st_size for one in path.parent.iterdir())


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args().rounds
    with tempfile.TemporaryDirectory(prefix="recipients-") as folder, Store(Path(folder) / FILE) as store:
        for which, seconds in synced(store):
            print(f"sync    {which:<14} {seconds:7.2f} s")
        here = random.Random(7).sample(people(), ASKED)
        store.teach({address.replace("user", "spoken"): Taught(True, NOW + 1) for address in here})
        recipients = Recipients(None, store, Lists({"list": ()}))
        for name, word, standing in (
            ("listed", "user", Standing.LISTED),
            ("absent", "nobody", Standing.ABSENT),
            ("taught", "spoken", Standing.TAUGHT),
        ):
            asked = [address.replace("user", word) for address in here]
            print(f"lookup  {name:<14} {min(lookup(recipients, asked, standing) for _ in range(rounds)):7.2f} us")
        store.close()  # a connection must not be taken over a fork
        print(f"memory  {own(store.path, MANY) - own(store.path, 1):+22d} KiB")
        print(f"taught  {MOST_TAUGHT * 5 // 4:<14} {taught(store):7.2f} us")
        began = time.perf_counter()
        store.tidy(NOW)
        seconds, left = time.perf_counter() - began, sum(1 for _ in store.taught())
        store.close()
        print(f"tidied  {left:<14} {seconds:7.2f} s, {size(store.path) >> 20} MiB")


if __name__ == "__main__":
    main()
