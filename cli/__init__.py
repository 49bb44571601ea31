"""The command line for the operators of the destination. It is never deployed."""
