"""Networks on chip and between devices: topologies, message schedules on them, and tables of such cases."""
