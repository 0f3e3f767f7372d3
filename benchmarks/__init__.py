"""How fast ecsconsul is, each time beside a floor or a peer that is measured in the same run."""
