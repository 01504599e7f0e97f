"""Pure.  measures: lengths of time, moments and sizes, as an operator reads them wherever we write to him."""

import time


def ago(seconds: float) -> str:
    """A length of time in one or two units: "45s", "12m", "3h 5m", "2d 4h"."""
    minutes, _ = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    if days:
        return f"{days}d {hours}h"
    if hours:
        return f"{hours}h {minutes}m"
    return f"{minutes}m" if minutes else f"{int(seconds)}s"


def moment(seconds: float) -> str:
    """Local time: "2026-11-24 12:20"."""
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(seconds))


def clock(seconds: float) -> str:
    """Local time to the second: "2026-11-24 12:20:07"."""
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(seconds))


def size(octets: int) -> str:
    """ "512", "4.1K", "3.0M"."""
    value = float(octets)
    for unit in ("", "K", "M"):
        if value < 1024:
            return f"{value:.0f}" if not unit else f"{value:.1f}{unit}"
        value /= 1024
    return f"{value:.1f}G"
