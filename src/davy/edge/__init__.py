"""Root of the site process: configuration, wiring, local console."""
