"""What plugins ask for, what operators allow, who vouches for a plugin, and what is written down about its use."""
