"""A disk or a tree → the file that is handed out; one module or folder for each format."""
