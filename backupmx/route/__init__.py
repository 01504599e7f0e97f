"""route: where a recipient's mail goes.

transport_map  transport(5): the file and its look-up      pure
next_hop       "smtp:[host]:port" and what it means        pure
hosts          a next hop's hosts and addresses, by DNS
primaries      up, down, since when
"""
