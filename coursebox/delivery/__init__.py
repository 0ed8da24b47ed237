"""What lies beside every delivered file, whatever its format."""
