"""Pure.  plot: pictures made on the server, as SVG that needs no script and no style of its own.

    strip      a week of one primary: where it was down
    verdicts   a week of mail, an hour a bar

Colours are style.css's, by class: dark mode and contrast are one matter for all.
"""

from collections.abc import Mapping, Sequence

from markupsafe import Markup

from backupmx.operate.measures import ago, moment
from backupmx.operate.page.facts import PastOutage, VerdictHour

WEEK = 7 * 86400
_WIDTH, _HEIGHT = 700, 14


def strip(outages: Sequence[PastOutage], now: int) -> Markup:
    """Seven days, the newest at the right; each outage has a title with its times, and the whole a sentence."""
    bars, down = [], 0.0
    for one in outages:
        began, ended = max(one.began, now - WEEK), now if one.ended is None else one.ended
        if ended < now - WEEK:
            continue
        down += ended - began
        left = (began - now + WEEK) / WEEK * _WIDTH
        width = max(2.0, (ended - began) / WEEK * _WIDTH)
        words = f"down {moment(one.began)} for {ago(ended - one.began)}"
        bars.append(Markup('<rect class="down" x="{:.1f}" width="{:.1f}" height="{}"><title>{}</title></rect>').format(
            min(left, _WIDTH - width), width, _HEIGHT, words))  # fmt: skip
    times = "once" if len(bars) == 1 else f"{len(bars)} times"
    said = f"Down for {ago(down)} in seven days, {times}" if bars else "Never down in seven days"
    days = Markup("").join(
        Markup('<rect class="day" x="{}" width="1" height="{}"/>').format(_WIDTH // 7 * day, _HEIGHT)
        for day in range(1, 7)
    )
    return Markup(
        '<svg class="strip" viewBox="0 0 {} {}" preserveAspectRatio="none" role="img" aria-label="{}">'
        '<rect class="up" width="{}" height="{}"/>{}{}</svg>'
    ).format(_WIDTH, _HEIGHT, said, _WIDTH, _HEIGHT, days, Markup("").join(bars))


FATES = ("accept", "redirect", "filter", "hold", "discard", "defer", "reject")
"""From the ground up; each has its class in style.css."""
_HOURS, _BAR, _TALL = 168, 5, 120


def verdicts(hours: Sequence[VerdictHour], now: int) -> Markup:
    """Seven days of stacked bars, the newest at the right; "" when there is none.  The table beside it has the sums."""
    first = now // 3600 * 3600 - (_HOURS - 1) * 3600
    by_hour: dict[int, dict[str, int]] = {}
    for one in hours:
        if one.hour >= first and one.fate in FATES:
            by_hour.setdefault((one.hour - first) // 3600, {})[one.fate] = one.messages
    if not by_hour:
        return Markup("")
    most = max(sum(of.values()) for of in by_hour.values())
    bars = Markup("").join(_bar(n, of, most, first + n * 3600) for n, of in sorted(by_hour.items()) if n < _HOURS)
    days = Markup("").join(
        Markup('<rect class="day" x="{}" width="1" height="{}"/>').format(_HOURS * _BAR - day * 24 * _BAR, _TALL)
        for day in range(1, 7)
    )
    said = f"Messages an hour over seven days, at most {most:,}, by verdict"
    return Markup('<svg class="verdicts" viewBox="0 0 {} {}" preserveAspectRatio="none" role="img" aria-label="{}">'
                  "{}{}</svg>").format(_HOURS * _BAR, _TALL, said, days, bars)  # fmt: skip


def _bar(n: int, of: Mapping[str, int], most: int, hour: int) -> Markup:
    """One hour; what is there at all is seen."""
    top, parts = float(_TALL), []
    for fate in FATES:
        if of.get(fate):
            height = max(1.0, of[fate] / most * _TALL)
            top = max(0.0, top - height)
            parts.append(Markup('<rect class="{}" x="{}" y="{:.1f}" width="{}" height="{:.1f}"/>').format(
                fate, n * _BAR, top, _BAR - 1, height))  # fmt: skip
    words = f"{moment(hour)}: " + ", ".join(f"{of[fate]:,} {fate}" for fate in FATES if of.get(fate))
    return Markup("<g><title>{}</title>{}</g>").format(words, Markup("").join(parts))
