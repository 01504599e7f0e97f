"""rules: header_checks(5) and its sisters, as Postfix applies them.  Pure.

Read in this order

    engine       judge and judge_added: content x tables -> what is left, and the verdict
    tables       the five tables of a server, and how one is asked
    actions      what many decisions come to: the ruling on one message
    body         the walk through what follows the header block
    mime         where headers begin again
    table        a table that can be asked: first match wins, if and endif
    anchor       which headers a rule can match at all
    pattern      PCRE2 with a match limit
    posix        regexp: expressions in PCRE2's words
    syntax, replacement, vocabulary    lines, $1, action words of a table file
    replay       the engine's answer in words, for replay-headers
    lint, smells mistakes in rule files
"""
