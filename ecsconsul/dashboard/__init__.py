"""A lab as a picture, and as a page in a browser: drawn from what is observed, served on loopback alone."""
