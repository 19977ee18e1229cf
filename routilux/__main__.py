"""`python -m routilux`: see `routilux.cli`."""

import sys

from routilux.cli import main

if __name__ == "__main__":
    sys.exit(main())
