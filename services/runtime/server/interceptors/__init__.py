"""What happens around every call, one small file each, in one order that is written down in `chain.LAYERS`."""
