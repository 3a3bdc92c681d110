"""Where recordings and labels are on disk, and what label files say."""
