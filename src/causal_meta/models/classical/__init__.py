"""Classical methods, one table at a time: bootstrapped searches over graphs, and simple anchors."""
