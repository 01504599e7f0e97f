"""operate: the appliance as an operator meets it.

serve/       the processes: supervisor, workers, relay
report/      counts, states, alarms, the daily digest
page/        the page, its API, /metrics, /healthz
cli/         the command line, one file a noun
desk         what an operator does to mail, whatever tells it: cli/ and page/ call it
printable    what strangers wrote, harmless on a terminal and on a page; measures: times and sizes
groups       refused mail, by what the primary said
explain      the whole policy on one message
inspect/     check dns, check primary; odds: settings that cannot work together
rehearsal/   a fire drill
moving/      a Postfix's configuration, read and carried over; postcat: its queue files
services     engines and milters of this machine, found and asked
manual       man pages, of the same words as --help
demo/        the whole job on one screen
"""
