"""spamass_milter: Debian's spamass-milter before a spamd that somebody else started."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from tests.neighbours.milter_program import running
from tests.neighbours.unbound import required


@contextmanager
def spamass_milter(folder: Path, spamd: str, options: Sequence[str] = ()) -> Iterator[str]:
    """-> "unix:PATH" while it runs.  `spamd`: its address, "tcp:HOST:PORT"."""
    _, host, port = spamd.split(":")
    socket = f"{folder}/spamass.sock"
    command = [required("spamass-milter"), "-p", socket, *options, "--", "-d", host, "-p", port]
    with running(command, f"unix:{socket}", folder / "log") as address:
        yield address
