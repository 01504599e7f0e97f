"""inspect: is everything outside this machine as a secondary MX needs it?

finding        what one look found: good, note, finding, unknown
place          Pure.  our place in a domain's MX set
ourselves      our addresses, reverse names, greeting
certificates   what we show in STARTTLS: names, dates, TLSA
mta_sts        the policy of a domain that asks senders for it
outward        do the primaries answer on their port
names          all of it: check dns
"""
