"""Prompts of the bundled families."""
