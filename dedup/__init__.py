"""Near-duplicate removal: signatures propose, exact comparison disposes."""
