"""Times of single operators on a device, for tables of cases."""
