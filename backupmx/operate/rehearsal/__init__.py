"""rehearsal: a fire drill for one domain, as if its primary were down and came back.

step      what a step found, in words; the report
run       the probe's whole way
"""
