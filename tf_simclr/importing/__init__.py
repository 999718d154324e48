"""Released SimCLR weights as run directories: a stage of its own that starts from somebody else's file instead of images."""
