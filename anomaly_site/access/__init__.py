"""Who may do what: the choice of the operator (`ACCESS`), tokens, people, and one table of routes and frames."""
