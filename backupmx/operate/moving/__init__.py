"""moving: a Postfix configuration, read and said in our words.

    postfix_cf    Pure.  main.cf and master.cf as postconf(5) and master(5) have them
    translation   the values: what we set, what we copy, what is said of it
    tables        Pure.  Postfix's "type:name" tables, and which of them we can read
    restrictions  Pure.  smtpd_*_restrictions and postscreen
    milters       Pure.  smtpd_milters
    directory     Pure.  ldap: tables -> [[recipients.source]]
    translate     all of it together; files are asked for through one function
    write         into a directory, never over an existing file

Why not ask postconf?  The folder may have been copied to a machine that has no
Postfix, or another one; two readers would give two answers.  A test compares
ours with postconf's.
"""
