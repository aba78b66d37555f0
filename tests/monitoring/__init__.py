"""`OptimizerMonitor` and `statistics` show what the steps do, and change nothing."""
