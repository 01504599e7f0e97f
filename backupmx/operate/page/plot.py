"""Pure.  plot: pictures made on the server, as SVG that needs no script and no style of its own.

    strip    a week of one primary: where it was down

Colours are style.css's, by class: dark mode and contrast are one matter for all.
"""

from collections.abc import Sequence

from markupsafe import Markup

from backupmx.operate.cli.options import ago, moment
from backupmx.operate.page.facts import PastOutage

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
    said = f"Down for {ago(down)} in seven days, {len(bars)} times" if bars else "Never down in seven days"
    days = Markup("").join(
        Markup('<rect class="day" x="{}" width="1" height="{}"/>').format(_WIDTH // 7 * day, _HEIGHT)
        for day in range(1, 7)
    )
    return Markup(
        '<svg class="strip" viewBox="0 0 {} {}" preserveAspectRatio="none" role="img" aria-label="{}">'
        '<rect class="up" width="{}" height="{}"/>{}{}</svg>'
    ).format(_WIDTH, _HEIGHT, said, _WIDTH, _HEIGHT, days, Markup("").join(bars))
