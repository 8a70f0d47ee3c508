"""MultiBox: a network that predicts boxes and confidences from the whole image in one pass.

Erhan et al., 'Scalable Object Detection using Deep Neural Networks' (2014); Szegedy et al., 'Scalable, High-Quality
Object Detection' (2014). Import from the modules `config`, `network` and `proposer`; for training from `priors` and
`loss`.
"""
