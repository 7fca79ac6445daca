"""The engine: roles, journal, client, model servers and their supervisor."""
