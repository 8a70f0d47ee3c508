"""MultiBox: boxes with confidences from one pass of a network over the whole image.

Erhan et al., 'Scalable Object Detection using Deep Neural Networks' (2014); Szegedy et al., 'Scalable, High-Quality
Object Detection' (2014). Import from the modules: `config`, `network`, `proposer`; for training `priors`, `matching`,
`loss`.
"""
