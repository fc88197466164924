"""`python -m dnirender` is the command line."""

import sys

from dnirender.cli.app import main

sys.exit(main())
