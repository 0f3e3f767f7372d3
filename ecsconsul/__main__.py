"""`python -m ecsconsul` is `ecsconsul`."""

from .cli.entry import main

main()
