"""Families: each module is one kind of synthetic text, both halves: asking and rendering."""
