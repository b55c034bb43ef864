"""Commands about policies: show, resolve, publish and withdraw them."""
