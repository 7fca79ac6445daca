"""Seed texts that ship with the package."""
