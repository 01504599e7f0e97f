"""recipients: who exists, how we know it, and how old that knowledge is.

who        one question, "does this address exist?", over all that is known
standing   pure: what an answer says, and what it is worth at which age
known      relay_recipients, a file in the syntax of Postfix's maps
store      recipients.db: lists that were fetched, and what a primary said of single addresses
sync       fetch a list, look at the difference, take it or refuse it
source_command, source_ldap   where lists come from
"""
