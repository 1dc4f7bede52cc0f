"""What plugin authors use: a new plugin's folder, its build, its tests, and what is missing on the machine."""
