"""relay: from the queue to the primary.

attempt   attempt(): from a claim to its outcomes, the second story
runner    claims what is due and keeps attempts within their limits
schedule  when to try again, when to give up                       pure
bounce    the delivery status notice, RFC 3464                     pure
"""
