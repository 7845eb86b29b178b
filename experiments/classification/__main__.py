"""Do classifiers of defects get better with generated images? `python -m experiments.classification --size small`."""

import sys

from experiments.classification.task import TASK
from experiments.proof.run import main

if __name__ == "__main__":
    sys.exit(main(TASK, __doc__))
