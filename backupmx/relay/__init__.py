"""relay: from the queue to the primary.

attempt      attempt(): from a claim to its outcomes, the second story
deliver      one claim to one next hop: an answer for each recipient
connections  the open conversations with a next hop
judge        answers become outcomes                            pure
bounce       the delivery status notice, RFC 3464               pure
runner       the relay process: start, run, stop
feed         one next hop's attempts, as many as it can take
health       next hops up and down, since when
schedule     when to try again, when to give up                 pure
window       how many connections a next hop gets               pure
settings     what the relay goes by                             pure
"""
