"""Simulated plants, virtual devices, the demo and the benches."""
