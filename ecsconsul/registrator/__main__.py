"""Runs `python -m ecsconsul.registrator`, the image's entry point."""

from .program import main

main()
