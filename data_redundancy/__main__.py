"""`python -m data_redundancy`: the command line."""

import sys

from data_redundancy.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
