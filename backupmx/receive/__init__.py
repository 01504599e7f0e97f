"""receive: from the socket to our reply.

intake    accept(): from the final dot to our 250, the first story
assess    what becomes of a message before it rests: its steps 1 to 6, for `explain` too
added     milter_header_checks on what milters write
session   one SMTP dialogue: what each verb means
transfer  its content, by DATA or BDAT, to our reply
wire      the connection below it, a subclass of aiosmtpd's SMTP
command   the arguments of MAIL and RCPT, and the replies                    pure
data      content in pieces: dot-unstuffing, line ends, the end              pure
spool     content while it comes in: in memory, then in a file
admit     at connection, MAIL and RCPT: is this ours, does this person exist pure
ability   what no host of a primary takes is not taken for it                pure
policy/   what is held against a client: lists, names, greetings, manners
pregreet  the wait before the greeting
sender    could mail to this sender be delivered? The DNS is asked
trace     the Received: header of ours, and counting those of others         pure
limits    what a client may ask of us, each number with its precedent        pure
proxy     whom a proxy in front of us speaks for (PROXY)
xclient   whom a trusted client speaks for (XCLIENT)                        pure
names     what clients are called
service   what all sessions of one process share
listen    sockets and one worker process's loop
"""
