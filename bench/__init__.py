"""Measurements: what the README claims, re-run."""
