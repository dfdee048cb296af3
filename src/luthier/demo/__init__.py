"""`luthier demo`: the whole loop on real text."""
