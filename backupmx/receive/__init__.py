"""receive: from the socket to our reply.

    intake    accept(): from the final dot to our 250, the first story
    session   one SMTP dialogue, a subclass of aiosmtpd's
    data      DATA in chunks: dot-unstuffing, line ends, spooling to disk
    admit     at connection, MAIL and RCPT: is this ours, does this person exist
    trace     the Received: header of ours, and counting those of others
    listen    sockets and one worker process's loop
"""
