"""Settings in SSM and in files, for the commands."""
