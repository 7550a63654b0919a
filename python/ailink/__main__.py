"""`python -m ailink` is the `ailink` command."""

from ailink.cli import main

if __name__ == "__main__":
    main()
