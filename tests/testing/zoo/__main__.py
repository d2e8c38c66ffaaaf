"""`python -m tests.testing.zoo` prints the matrix, wrong plugin x check."""

from tests.testing.zoo.matrix import matrix

print(matrix())
