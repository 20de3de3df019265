"""The command line: what it says, and the status it ends with."""
