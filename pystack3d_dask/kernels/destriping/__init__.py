"""VSNR (variational stationary noise remover) and wavelets."""
