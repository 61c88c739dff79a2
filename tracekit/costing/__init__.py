"""What operations cost by their shapes: floating-point operations and bytes that must move."""
