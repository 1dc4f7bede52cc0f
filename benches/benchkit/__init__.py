"""What the benches share: guests, measuring, and results."""
