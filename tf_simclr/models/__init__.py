"""ResNets with selective kernels, the projection head and its selector."""
