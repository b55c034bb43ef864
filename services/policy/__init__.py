"""The Policy service: authorities publish the rules of their places, everyone asks what applies where and when."""
