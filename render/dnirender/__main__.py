"""`python -m dnirender` is the command line."""

import sys

from dnirender.cli import main

sys.exit(main())
