"""`python -m schedulergodx`: the command line."""

import sys

from schedulergodx.cli import main

if __name__ == "__main__":
    sys.exit(main())
