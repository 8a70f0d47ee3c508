"""Operations on boxes, score maps and pixels, CPU kernels, devices and precision."""
