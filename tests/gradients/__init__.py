"""Whatever form and size a gradient has, it counts as what it means, or is refused."""
