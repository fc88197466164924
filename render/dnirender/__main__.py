"""`python -m dnirender` is the command line."""

import sys

from dnirender.cli.main import main

sys.exit(main())
