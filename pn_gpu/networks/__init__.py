"""The networks a user builds: `Network` and its kinds, made from scratch or from a file."""
