"""outward: can we reach the primaries at all?  Many networks close port 25 outward."""

import asyncio
import os
import time
from collections.abc import Callable, Sequence

from backupmx.net.dns import Resolver
from backupmx.operate.inspect.finding import Finding, good, unknown, wrong
from backupmx.route import hosts
from backupmx.route.hosts import Host, NoHosts
from backupmx.route.next_hop import HopTrouble, parse

SECONDS = 10.0


async def check(resolver: Resolver, next_hop: str, bind: Callable[[str], str], domains: Sequence[str]) -> list[Finding]:
    """Each host of a next hop; `bind`: our address on a connection to that one; `domains`: whose it is."""
    try:
        hop = parse(next_hop)
    except HopTrouble as trouble:
        return [wrong(next_hop, "port-25", str(trouble), "mend transport.map")]
    if not hop.connects:
        return []
    try:
        found = await hosts.find(hop.destinations, resolver)
    except NoHosts as none:
        if none.loops:
            remedy = "name the primary's host in transport.map, in brackets"
            return [wrong(next_hop, "port-25", f"{none} ({', '.join(domains[:5])})", remedy)]
        return [unknown(next_hop, "port-25", str(none))]
    return list(await asyncio.gather(*(_knock(host, bind) for host in found)))


async def _knock(host: Host, bind: Callable[[str], str]) -> Finding:
    started = time.monotonic()
    ours = bind(host.address)
    try:
        async with asyncio.timeout(SECONDS):
            if host.address:
                _, writer = await asyncio.open_connection(
                    host.address, host.port, local_addr=(ours, 0) if ours else None
                )
            else:
                _, writer = await asyncio.open_unix_connection(host.name)
    except OSError as error:  # TimeoutError is one
        why = os.strerror(error.errno) if error.errno else f"no answer in {SECONDS:g} s"
        remedy = "is it up? does a firewall, here, there or at the provider, close this port outward?"
        return wrong(str(host), "port-25", why, remedy)
    writer.transport.abort()
    return good(str(host), "port-25", f"answers, {(time.monotonic() - started) * 1000:.0f} ms")
