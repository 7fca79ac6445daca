"""Faults for tests: processes that die at a chosen operation, disks that are full or broken."""
