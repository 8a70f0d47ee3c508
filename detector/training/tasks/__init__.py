"""What is trained, one task a module: R-FCN, R-CNN, the classifier, MultiBox."""
