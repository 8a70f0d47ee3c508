"""Classification of whole images as in the GoogLeNet paper, section 7: many crops, several models, averaged."""
