"""The frozen diffusion model behind one interface: loading, noise prediction, text encoding, the VAE."""
