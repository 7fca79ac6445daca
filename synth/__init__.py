"""Synthetic pre-training corpora. This package is what every other folder may import; see ARCHITECTURE.md."""
