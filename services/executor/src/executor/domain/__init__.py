"""What the executor decides, without bus, database, broker or clock."""
