"""The command line, the steps and their orchestration."""
