"""Reading text and YAML, writing JSON, recognizing Git LFS pointers."""
