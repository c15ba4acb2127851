"""Load: a file, a stream or a query becomes commands in the lanes, each row once."""
