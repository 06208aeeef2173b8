"""Strategies: what they see, what they may ask for, and the router that keeps them apart."""
