"""`python -m rli`: the command `rli`."""

import sys

from rli.cli.app import command

if __name__ == "__main__":
    sys.exit(command())
