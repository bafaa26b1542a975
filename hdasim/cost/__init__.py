"""What a device costs: area, dollars."""
