"""`python -m ecsconsul` is `ecsconsul`."""

from .entry import main

main()
