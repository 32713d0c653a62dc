"""Root of the centre process: intake, history, web console."""
