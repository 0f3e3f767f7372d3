"""`python -m ecsconsul.registrator`, which is what the image runs."""

from .program import main

main()
