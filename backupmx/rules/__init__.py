"""rules: header_checks(5) and its sisters, as Postfix applies them.  Pure.

table     a table file: logical lines, rules, if/endif; what is wrong with it
pattern   one pattern: PCRE2 with a match limit, POSIX regexp
actions   REJECT, DISCARD, IGNORE ...: what one decision does
mime      the MIME state machine: which table sees which line
engine    content x tables -> what is left and the verdict
"""
