"""The command `rli` in a checkout: python main.py defect=corrosion resolution=1024"""

import os
import sys
from pathlib import Path

from rli.cli.app import command

if __name__ == "__main__":
    # Where the package is not installed, processes that a launcher starts elsewhere find it as this one does.
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(Path(__file__).parent), os.environ.get("PYTHONPATH")]))
    sys.exit(command())
