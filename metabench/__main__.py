"""`python -m metabench`: the command line."""

from metabench.cli.main import main

if __name__ == "__main__":
    main()
