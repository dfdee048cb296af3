"""Numbers that describe an input (a text, an image, a sound), one row a record, for statistics and checks to read."""
