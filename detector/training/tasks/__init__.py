"""What is trained, one task per module: R-FCN, R-CNN, the classifier, MultiBox."""
