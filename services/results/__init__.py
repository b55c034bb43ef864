"""The Results service: laboratories stream results in, health codes and gates look them up."""
