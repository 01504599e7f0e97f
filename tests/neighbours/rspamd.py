"""rspamd: Debian's rspamd as a milter or a scanner over HTTP, with a configuration of its own that asks no network.

One process: as a milter the proxy scans itself.  Debian's rule files are used
as they are installed; modules that would ask DNS lists, redis or the internet are off.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.neighbours.milter_program import running
from tests.neighbours.unbound import free_port, required

_CONFIGURATION = """\
lua = "$RULESDIR/rspamd.lua"
.include "$CONFDIR/metrics.conf"
.include "$CONFDIR/actions.conf"
.include "$CONFDIR/groups.conf"
modules {{ path = "${{PLUGINSDIR}}"; }}
milter_headers {{ use = ["x-spamd-result", "x-spam-status"]; skip_local = false; skip_authenticated = false; }}
options {{
    pidfile = "{folder}/rspamd.pid"; tempdir = "{folder}"; cache_file = "{folder}/symbols.cache";
    hs_cache_dir = "{folder}/"; url_tld = "{folder}/tld"; filters = "chartable,regexp";
    dns {{ nameserver = ["127.0.0.1:1"]; timeout = 0.1s; retransmits = 1; }}
    local_addrs = []; control_socket = "{folder}/control.sock mode=0600"; history_rows = 1; gtube_patterns = "reject";
}}
logging {{ type = "console"; level = "info"; }}
"""
_MILTER = """\
worker "rspamd_proxy" {{
    bind_socket = "127.0.0.1:{port}"; milter = yes; timeout = 20s; count = 1;
    upstream "local" {{ default = yes; self_scan = yes; }}
}}
"""


_SCANNER = """\
worker "normal" {{ bind_socket = "127.0.0.1:{port}"; count = 1; }}
"""


@contextmanager
def rspamd_scanner(folder: Path) -> Iterator[str]:
    """-> "tcp:HOST:PORT" while it runs."""
    with rspamd(folder, _SCANNER) as address:
        yield address.replace("inet:", "tcp:")


@contextmanager
def rspamd(folder: Path, worker: str = _MILTER) -> Iterator[str]:
    """-> "inet:HOST:PORT" while it runs."""
    port = free_port()
    (folder / "tld").write_text("com\njp\ntest\n")  # the real list takes half a minute to compile
    (folder / "rspamd.conf").write_text((_CONFIGURATION + worker).format(folder=folder, port=port))
    command = [required("rspamd"), "-f", "-i", "-u", "root", "-g", "root", "-c", str(folder / "rspamd.conf")]
    with running(command, f"inet:127.0.0.1:{port}", folder / "log") as address:
        yield address
