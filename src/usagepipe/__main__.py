"""`python -m usagepipe …`: the `usagepipe` command where its script is not on the path."""

from usagepipe.cli import main

if __name__ == "__main__":  # else whoever walks through the modules would run it
    main()
