"""Small analyses over the kernel table; each takes it and returns one result."""
