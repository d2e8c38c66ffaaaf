"""`python -m metabench`: the command line."""

from metabench.cli import main

if __name__ == "__main__":
    main()
