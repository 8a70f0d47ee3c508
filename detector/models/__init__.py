"""Networks and model files: GoogLeNet, backbones, R-FCN, R-CNN, the classifier, weights, Caffe import."""
