"""Values, enums and errors that every other folder of the function shares."""
