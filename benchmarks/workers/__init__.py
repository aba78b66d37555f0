"""Bytes that workers send each other in a step, where few rows are hot."""
