"""Do segmentation networks get better with generated images? `python -m experiments.segmentation --size small`."""

import sys

from experiments.proof.run import main
from experiments.segmentation.task import TASK

if __name__ == "__main__":
    sys.exit(main(TASK, __doc__))
