"""The pages, types, archives and tests of the project are as it says."""
