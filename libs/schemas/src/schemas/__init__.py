"""The contract: messages, value types, symbols, subjects and streams."""
