"""Claims approved intents, submits at most once, works the price and reconciles."""
