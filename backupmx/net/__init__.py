"""net: the wire.  dns (one resolver with a cache), tls (contexts), smtp (the client)."""
