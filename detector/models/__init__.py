"""Networks and their files: GoogLeNet, backbones, R-FCN, R-CNN, the classifier, weights."""
