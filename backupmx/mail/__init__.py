"""mail: the nouns every stage shares.  Pure: values in, values out, no I/O.

reply     what we say to a client, or a primary said to us
address   paths and addresses as RFC 5321 writes them
envelope  who sends what to whom, and who is talking to us
message   content: logical headers and the body that follows them
verdict   what is done with a message, and the rule that wanted it
"""
