"""What happens inside the UNet's attention layers: hooks, and the processor that calls them."""
