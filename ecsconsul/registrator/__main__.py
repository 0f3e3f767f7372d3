"""`python -m ecsconsul.registrator`, which is what the image runs."""

from ecsconsul.registrator.program import main

main()
