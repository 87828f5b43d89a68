"""Drawing shared by all pictures of stacks: the scale bar."""
