"""What the command line does, one file each."""
