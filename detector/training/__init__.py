"""Training: the loop, one task per network, augmentation, recipes, custom data sets."""
