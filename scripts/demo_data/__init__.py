"""Simulation of the demo data set: driving, vehicle, cell, tester, and the data card."""
