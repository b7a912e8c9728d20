"""Task sets, user tables, portraits of families and distances between them."""
