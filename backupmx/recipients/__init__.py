"""recipients: who exists.  known: relay_recipient_maps from a file."""
