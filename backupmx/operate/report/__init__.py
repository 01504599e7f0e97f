"""report: what an appliance tells of itself when nobody looks at it, and what all who look are told from.

tally          counts and states of all processes, by hour too: tally.db
glance         what is so now, for `status` and the page
metrics        the tally as Prometheus reads it
outlook        primaries up or down, as each process sees them
watch, alarms  what is wrong now; alarm_ways: mail, webhook or a program, once at begin and end
digest         what the postmaster reads once a day; digest_text: its words
certificate    when ours end
"""
