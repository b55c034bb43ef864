"""The layers around every call, one in each module; `chain.ordered_layers` has their order."""
