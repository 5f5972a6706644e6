"""ROOM raw -> prepared/: checks every case, stores it on its own grid, and materialises what models see."""
