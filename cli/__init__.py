"""The command line for whoever runs the destination. Nothing of it is deployed."""
