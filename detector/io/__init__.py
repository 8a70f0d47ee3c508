"""Text, YAML and Git LFS pointers: what every reader of files does first."""
