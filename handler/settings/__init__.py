"""The shop's settings in SSM, and the function's environment."""
