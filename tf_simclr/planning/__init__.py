"""What a training costs, before there is one: from shapes, and from the compiler."""
