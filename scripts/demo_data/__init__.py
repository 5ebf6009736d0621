"""How the demo data set is made: driving, vehicle, cell, tester, and what is written about them."""
