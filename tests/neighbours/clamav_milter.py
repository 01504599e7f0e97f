"""clamav_milter: Debian's clamav-milter before a clamd that somebody else started."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.neighbours.milter_program import running
from tests.neighbours.unbound import required

_CONFIGURATION = """\
MilterSocket {folder}/clmilter.sock
ClamdSocket {clamd}
OnClean Accept
OnInfected {on_infected}
OnFail Defer
AddHeader {add_header}
ReportHostname mx2.example.net
Foreground yes
FixStaleSocket yes
LogFile {folder}/milter.log
TemporaryDirectory {folder}
"""


@contextmanager
def clamav_milter(
    folder: Path, clamd: str, *, add_header: str = "Replace", on_infected: str = "Accept"
) -> Iterator[str]:
    """-> "unix:PATH" while it runs.  `clamd`: its address, "unix:PATH"."""
    text = _CONFIGURATION.format(folder=folder, clamd=clamd, add_header=add_header, on_infected=on_infected)
    (folder / "clamav-milter.conf").write_text(text)
    command = [required("clamav-milter"), "-c", str(folder / "clamav-milter.conf")]
    with running(command, f"unix:{folder}/clmilter.sock", folder / "log") as address:
        yield address
