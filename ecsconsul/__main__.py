"""`python -m ecsconsul` is `ecsconsul`."""

from .cli import main

main()
