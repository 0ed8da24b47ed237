"""From verified package files to a sealed root file system."""
