"""Verification of what a model wrote: final answers that are the same (`equivalence`), statements that a judge confirms."""
