"""Rules that score texts, and gates that keep or drop them."""
