"""What a component imports and exports, read before it is compiled."""
