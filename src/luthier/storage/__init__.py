"""What stores are made of: the database, sealed segments, content-addressed folders."""
