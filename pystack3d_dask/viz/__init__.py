"""What pictures of stacks have in common: the scale bar."""
