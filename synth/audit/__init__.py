"""The catalogue and the audit: everything that speaks SQL."""
