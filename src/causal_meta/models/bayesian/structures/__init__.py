"""Tables of families, exact sums over graphs, searches and Markov chains on them."""
