"""`python tests/zoo` prints the matrix, wrong plugin x check."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from zoo.matrix import matrix

print(matrix())
