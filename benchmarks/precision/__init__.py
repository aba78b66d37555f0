"""Three models trained in float32, bfloat16 and float16, ours beside the built-in."""
