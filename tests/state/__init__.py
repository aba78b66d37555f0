"""No state is lost: saved, loaded, grown or moved, it goes where the weights go."""
