"""The decision: facts in, every control's verdict out. No bus, no database, no clock."""
