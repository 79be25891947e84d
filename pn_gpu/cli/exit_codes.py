"""What the commands return beside 0."""

EXIT_FAILED = 1
"""Training diverged, or the network could not be saved where it should."""

EXIT_BAD_INPUT = 2

EXIT_INTERRUPTED = 130

EXIT_NO_READER = 141
"""Nobody reads what is printed any more."""
