"""`python -m benchmarks`: the table of goals."""

import sys

from benchmarks.goals import main

sys.exit(main())
