"""route: where a recipient's mail goes.

    transport_map  transport(5): the file and its look-up             pure
    next_hop       "smtp:[host]:port" and what it means               pure
    routes         what is ours, and where it goes: what others ask   pure
    hosts          a next hop's hosts and addresses, by DNS

Whether a next hop is up is the relay's knowledge: relay/health.py.
"""
