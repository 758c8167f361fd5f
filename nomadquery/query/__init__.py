"""What is asked: the tree of a question, its words, and how NOMAD spells it."""
