"""Statistics over text columns."""
