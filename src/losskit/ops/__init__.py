"""How scores are computed; knows no loss."""
