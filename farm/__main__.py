"""`python -m farm`."""

from farm.main import main

main()
