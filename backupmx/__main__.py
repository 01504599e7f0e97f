"""`python -m backupmx` is `backupmx`."""

from backupmx.operate.cli import main

main()
