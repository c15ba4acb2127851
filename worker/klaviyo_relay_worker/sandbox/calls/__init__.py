"""What each operation does: decode and check the body, then change or read the store."""
