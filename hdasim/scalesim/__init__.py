"""SCALE-Sim 3.0.0's arithmetic: its files in, its numbers out."""
